"""Subgraphs written by hand: a small builder, and a compile that hands back the runtime of what it wrote."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from dycl.diagnostics import SourceRange
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, CallFunction, CallModule, Return, Subgraph, TensorOp
from dycl.ir.program import Entry, Program
from dycl.ir.values import (
    BlockId,
    Lit,
    Operand,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    SubgraphId,
    TensorType,
    Value,
    ValueId,
)
from dycl.manifest import pack
from dycl.targets.base import Compiled, Options
from dycl.targets.onnxruntime.target import TARGET

LOC = SourceRange("model.py", 7, 4, 7, 20, "forward")
NOTHING, DEFAULT = Lit(None), Options()
KINDS = {int: ScalarKind.INT, float: ScalarKind.FLOAT, bool: ScalarKind.BOOL}


class Builder:
    """Builds one subgraph: parameters, operations, results."""

    def __init__(self, name: str = "00_test") -> None:
        self.name = name
        self._ids = count()
        self.params: list[Value] = []
        self.ops: list[TensorOp] = []

    def value(self, type_: TensorType | ScalarType, name: str = "") -> Value:
        return Value(ValueId(next(self._ids)), type_, name)

    def tensor(self, *shape: int | str, dtype: str = "float32", name: str = "x") -> Ref:
        self.params.append(self.value(TensorType(dtype, shape), name))
        return Ref(self.params[-1].id)

    def scalar(self, kind: type) -> Ref:
        self.params.append(self.value(ScalarType(KINDS[kind]), "s"))
        return Ref(self.params[-1].id)

    def op(
        self,
        target: str | CallModule,
        *args: Operand | int | float | str | bool | None,
        out: Sequence[TensorType] = (TensorType("float32", ()),),
        mutates: Sequence[Ref] = (),
        **kwargs: Operand,
    ) -> Any:
        """Record a call; the results (one Ref, or a list) then the new names of what it mutates."""
        results = tuple(self.value(t) for t in out)
        renamed = tuple((ref.id, self.value(TensorType("float32", ()))) for ref in mutates)
        operands = tuple(lift(arg) for arg in args)
        callee = CallFunction(target) if isinstance(target, str) else target
        self.ops.append(
            TensorOp(
                target=callee, args=operands, kwargs=tuple(kwargs.items()), results=results, mutates=renamed, loc=LOC
            )
        )
        refs = [Ref(v.id) for v in results] + [Ref(new.id) for _, new in renamed]
        return refs[0] if len(refs) == 1 else refs

    def done(self, *results: Ref, structure: int = -1) -> Subgraph:
        return Subgraph(
            id=SubgraphId(0),
            name=self.name,
            params=tuple(self.params),
            ops=tuple(self.ops),
            results=tuple(r.id for r in results),
            structure=structure,
            loc=LOC,
        )


def lift(arg: Any) -> Operand:
    """Python values as operands: numbers as literals, tuples and lists as sequences."""
    match arg:
        case tuple():
            return Seq(SeqKind.TUPLE, tuple(lift(a) for a in arg))
        case list():
            return Seq(SeqKind.LIST, tuple(lift(a) for a in arg))
        case None | bool() | int() | float() | str():
            return Lit(arg)
        case _:
            return arg


@dataclass(frozen=True)
class Built:
    """A compile with its runtime."""

    directory: Path
    compiled: Compiled
    runtime: Any

    def run(self, *values: Any, name: str = "00_test") -> Any:
        return self.runtime.subgraph(name)(*values)


_numbers = count()


def load_runtime(directory: Path, text: str) -> ModuleType:
    """The runtime module as an artifact has it: a copy, with the modules that lie beside it."""
    (directory / "runtime.py").write_text(text)
    package = ModuleType(f"artifact_{next(_numbers)}")
    package.__path__ = [str(directory)]
    sys.modules[package.__name__] = package
    return importlib.import_module(f"{package.__name__}.runtime")


def program_of(*subgraphs: Subgraph, value: Operand = NOTHING) -> Program:
    """A program that holds these subgraphs."""
    block = Block(id=BlockId(0), end=Return(value=value))
    return Program(name="Test", entries=(Entry(block=BlockId(0)),), blocks=(block,), subgraphs=subgraphs)


@pytest.fixture
def builder() -> Callable[..., Builder]:
    return Builder


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Built]:
    """Compile subgraphs and open the runtime on what was written."""

    def compile_(
        *subgraphs: Subgraph,
        weights: dict[str, torch.Tensor] | None = None,
        modules: dict[str, torch.nn.Module] | None = None,
        value: Operand = NOTHING,
        options: Options = DEFAULT,
        named: bool = True,
    ) -> Built:
        environment = environment_of(weights, modules) if named else Environment(weights or {}, modules or {})
        compiled = TARGET.compile(program_of(*subgraphs, value=value), environment, tmp_path, options)
        (tmp_path / "manifest.json").write_text(json.dumps(pack(compiled.manifest())))
        return Built(
            tmp_path, compiled, load_runtime(tmp_path, compiled.runtime["runtime.py"]).Runtime(tmp_path, threads=1)
        )

    return compile_


def environment_of(
    weights: dict[str, torch.Tensor] | None = None, modules: dict[str, torch.nn.Module] | None = None
) -> Environment:
    """An environment whose weights are those given and all of the modules'."""
    named = dict(weights or {})
    for path, module in (modules or {}).items():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            named[f"{path}.{name}"] = tensor
    return Environment(weights=named, modules=dict(modules or {}))


def assert_same(actual: Any, expected: torch.Tensor, *, exact: bool = False) -> None:
    """An array of the same type, shape and content as the tensor."""
    want = expected.detach().numpy()
    assert isinstance(actual, np.ndarray)
    assert (actual.dtype, actual.shape) == (want.dtype, want.shape)
    if exact or want.dtype.kind != "f":
        np.testing.assert_array_equal(actual, want)
    else:
        np.testing.assert_allclose(actual, want, rtol=1e-4, atol=1e-5)
