"""Generated hosts run here; their runtime runs the subgraphs by the rules of the executor."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from dycl.hostgen.host import class_name, write_host
from dycl.hostgen.parts import CONTAINERS, OBJECTS, PARTS, RESULTS, SCALARS, SUPPORT
from dycl.hosting import HostModel
from dycl.ir.copies import copied_text
from dycl.ir.environment import Environment
from dycl.ir.executor import Executor
from dycl.ir.nodes import Block as IrBlock
from dycl.ir.nodes import Dispatch, Return
from dycl.ir.parser import parse_ir
from dycl.ir.program import Entry, Param, ParamKind, Program
from dycl.ir.values import BlockId, InputLeaf, Seq, SeqKind
from dycl.ir.values import Ref as IrRef
from dycl.pipeline import Checked
from dycl.trials import Decide, Subject, find_timed


def to_numpy(value: Any) -> Any:
    """The value with arrays for tensors."""
    if isinstance(value, torch.Tensor):
        return value.detach().numpy().copy()
    if isinstance(value, (list, tuple)):
        return type(value)(map(to_numpy, value))
    return value


def subgraph_program(program: Program, name: str) -> Program:
    """A subgraph as a program of its own, run by the executor as any other."""
    subgraph = next(s for s in program.subgraphs if s.name == name)
    results = Seq(SeqKind.TUPLE, tuple(IrRef(value) for value in subgraph.results))
    block = IrBlock(id=BlockId(0), params=subgraph.params, ops=subgraph.ops, end=Return(value=results))
    signature = tuple(
        Param(name=f"p{i}", kind=ParamKind.POSITIONAL_ONLY, spec=InputLeaf(i, value.type))
        for i, value in enumerate(subgraph.params)
    )
    return Program(name="S", signature=signature, entries=(Entry(block=BlockId(0)),), blocks=(block,))


def fake_runtime(program: Program, environment: Environment) -> type:
    """A runtime class like a target's."""

    class Runtime:
        def __init__(self, directory: Path, threads: int | None = None, lazy: bool = False) -> None:
            self.threads = threads

        def subgraph(self, name: str) -> Callable[..., Any]:
            executor = Executor(subgraph_program(program, name), environment)

            def call(*args: Any) -> Any:
                given = [torch.from_numpy(np.array(a)) if isinstance(a, np.ndarray) else a for a in args]
                results = to_numpy(executor.run(given))
                return results[0] if len(results) == 1 else results

            return call

        def weight(self, name: str) -> np.ndarray:
            array = environment.weights[name].numpy().copy()
            array.flags.writeable = False
            return array

    return Runtime


# In the order in which they import each other.
_COPIED = tuple({**SUPPORT, **SCALARS, **CONTAINERS, **OBJECTS, **RESULTS}.items())


@functools.cache
def support_code() -> dict[str, types.CodeType]:
    """The modules that every host stands on, compiled once for all hosts."""
    return {name: compile(copied_text(module.__name__), str(module.__file__), "exec") for name, module in _COPIED}


def load_module(text: str, runtime: type) -> types.ModuleType:
    """The module of a host's text, in a package as in an artifact."""
    package = types.ModuleType("generated_host")
    package.__path__ = []
    support = {name: types.ModuleType(f"generated_host.{name}") for name, _ in _COPIED}
    runtime_module = types.ModuleType("generated_host.runtime")
    runtime_module.Runtime = runtime  # type: ignore[attr-defined]
    host = types.ModuleType("generated_host.host")
    host.__file__ = __file__
    host.__package__ = "generated_host"
    package.__dict__.update(PARTS)
    modules = {m.__name__: m for m in (package, *support.values(), runtime_module, host)}
    saved = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        for name, code in support_code().items():
            exec(code, support[name].__dict__)
        exec(compile(text, "host.py", "exec"), host.__dict__)
    finally:
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return host


def host_text(program: Program) -> str:
    """The text of a program's host."""
    return write_host(program, source_hash="0" * 64, version="0.1.0")


def host_class(program: Program, environment: Environment) -> Callable[..., Any]:
    """The class of a program's host."""
    module = load_module(host_text(program), fake_runtime(program, environment))
    made: Callable[..., Any] = getattr(module, class_name(program))
    return made


def make_host(program: Program, environment: Environment | None = None, **kwargs: Any) -> Any:
    """An instance of a program's host."""
    return host_class(program, environment or Environment())(**kwargs)


def make_subject(checked: Checked, model: nn.Module) -> Subject:
    """What verification needs of a program without a target; torch runs the host's subgraphs.

    As in an artifact, the host's text is one module, whatever edges are forced in how many hosts.
    """
    make = host_class(checked.program, checked.environment)

    def start(decide: Decide | None) -> HostModel:
        artifact: Any = SimpleNamespace(host=make())
        host = HostModel(artifact, checked.environment.classes)
        host.reset(decide)
        return host

    return Subject(
        program=checked.program,
        environment=checked.environment,
        model=model,
        make_host=start,
        timed=find_timed(checked.program),
    )


def parse(text: str, **entries: Any) -> Program:
    """The program of a text without its first line."""
    return parse_ir(f"program Model method forward\n{text}")


def assert_same(expected: Any, found: Any) -> None:
    """Check that two results are equal: types, nesting, values."""
    expected = to_numpy(expected)
    if isinstance(expected, np.ndarray):
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected) and len(found) == len(expected)
        for a, b in zip(expected, found, strict=True):
            assert_same(a, b)
    elif isinstance(expected, dict):
        assert list(expected) == list(found)
        for key in expected:
            assert_same(expected[key], found[key])
    else:
        assert type(found) is type(expected) and repr(found) == repr(expected)


def assert_close(expected: Any, found: Any) -> None:
    """Check that two results are equal up to rounding: types, nesting, values."""
    expected = to_numpy(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected) and len(found) == len(expected)
        for a, b in zip(expected, found, strict=True):
            assert_close(a, b)
    else:
        assert type(found) is type(expected) and found == expected


def compare(program: Program, calls: list[tuple[Any, ...]], environment: Environment | None = None) -> None:
    """Check that host and executor agree over a sequence of calls: results, errors, decisions, state."""
    environment = environment or Environment()
    host, executor = make_host(program, environment), Executor(program, environment)
    for args in calls:
        expected: Any = None
        error: Exception | None = None
        try:
            expected = executor.call(*args)
        except (ArithmeticError, ValueError, LookupError, RuntimeError, AssertionError) as problem:
            error = problem
        given = [to_numpy(arg) for arg in args]
        if error is None:
            try:
                found = host(*given)
            except Exception as problem:
                raise AssertionError(f"the host raises {problem!r}, in\n{host_text(program)}") from problem
            assert_same(expected, found)
        else:
            try:
                host(*given)
            except type(error) as problem:
                assert problem.args == error.args
            else:
                raise AssertionError(f"the host does not raise {error!r}")
        assert host.decisions == executor.decisions
        assert_same(executor.state, host.state_dict())


def has_dispatch(program: Program) -> bool:
    """Whether the program runs any subgraph."""
    return any(isinstance(op, Dispatch) for block in program.blocks for op in block.ops)
