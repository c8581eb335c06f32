"""What `--emit` writes: the HCFG as text, and each branch-free subgraph as PyTorch source that runs.

def block2_gate3(model: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x_1 = model.get_submodule("layers.2")(x)  # skipnet.py:52
    keep = x_1.mean()  # skipnet.py:53
    return x_1, keep
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import assert_never

import torch

from dycl.diagnostics import UNKNOWN, InternalError, UsageError
from dycl.ir.environment import Environment
from dycl.ir.nodes import CallFunction, CallModule, Subgraph, TensorOp
from dycl.ir.printer import print_ir
from dycl.ir.program import Program
from dycl.ir.values import (
    ArrayType,
    DictType,
    InputLeaf,
    ListType,
    Lit,
    Mapping,
    ObjectType,
    Operand,
    Record,
    Ref,
    ScalarType,
    Seq,
    SeqKind,
    SliceOf,
    StructType,
    TensorType,
    TorchLit,
    UnionType,
    Value,
    ValueId,
    ValueType,
    Weight,
)

EMIT_KINDS = ("ir", "torch")
_TENSOR_METHOD = "torch.Tensor."
_GET_ITEM = "torch.Tensor.__getitem__"

_LEAVES = '''
def tensors(value: object) -> list[torch.Tensor]:
    """The tensors in a nested value, in order."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]

'''


class _Names:
    """One unique Python identifier for each value of a subgraph, close to the source's name."""

    def __init__(self) -> None:
        self._names: dict[ValueId, str] = {}
        self._used = {"model", "weights", "tensors", "torch"}

    def define(self, value: Value) -> str:
        base = re.sub(r"\W", "_", value.name).strip("_") or "v"
        base = f"v_{base}" if base[0].isdigit() or keyword.iskeyword(base) else base
        name, count = base, 0
        while name in self._used:
            count += 1
            name = f"{base}_{count}"
        self._used.add(name)
        self._names[value.id] = name
        return name

    def __getitem__(self, value: ValueId) -> str:
        return self._names[value]


def check_emit(kinds: Iterable[str]) -> None:
    """Refuse what cannot be written."""
    for kind in kinds:
        if kind not in EMIT_KINDS:
            known = ", ".join(EMIT_KINDS)
            raise UsageError("DY505", UNKNOWN, f"--emit: there is nothing called {kind!r}", hint=f"known: {known}")


def write_emitted(
    kinds: Collection[str], directory: Path, program: Program, specialized: Program, environment: Environment
) -> None:
    """Write these kinds to a new directory: the program after its passes and before them, its subgraphs."""
    directory.mkdir()
    if "ir" in kinds:
        (directory / "program.txt").write_text(print_ir(program), encoding="utf-8")
        (directory / "specialized.txt").write_text(print_ir(specialized), encoding="utf-8")
    if "torch" in kinds:
        (directory / "torch").mkdir()
        for subgraph in program.subgraphs:
            text = write_torch(subgraph, environment)
            (directory / "torch" / f"{subgraph.name}.py").write_text(text, encoding="utf-8")


def write_torch(subgraph: Subgraph, environment: Environment) -> str:
    """The subgraph as a Python module with one function of its inputs; it imports torch alone."""
    names = _Names()
    params = [f"{names.define(value)}: {_annotation(value.type)}" for value in subgraph.params]
    body = [line for op in subgraph.ops for line in _write_op(op, names, environment)]
    results = ", ".join(names[value] for value in subgraph.results)
    body.append(f"return ({results},)" if len(subgraph.results) == 1 else f"return {results or '()'}")
    uses_weights = any("weights[" in line for line in body)
    first = ["model: torch.nn.Module", *(["weights: dict[str, torch.Tensor]"] if uses_weights else [])]
    head = f"def {_identifier(subgraph.name)}({', '.join(first + params)}) -> tuple[torch.Tensor, ...]:"
    helper = _LEAVES if any("= tensors(" in line for line in body) else ""
    text = "\n".join([head, *(f"    {line}" for line in body)])
    imports = "".join(f"import {module}\n" for module in _imports(subgraph))
    return f'"""Subgraph {subgraph.name}, from {subgraph.loc}."""\n\n{imports}\n{helper}\n{text}\n'


def _imports(subgraph: Subgraph) -> list[str]:
    roots = {op.target.name.split(".")[0] for op in subgraph.ops if isinstance(op.target, CallFunction)}
    return sorted(roots | {"torch"})


def _identifier(name: str) -> str:
    clean = re.sub(r"\W", "_", name)
    return f"subgraph_{clean}" if not clean or clean[0].isdigit() else clean


def _annotation(kind: ValueType) -> str:
    match kind:
        case TensorType():
            return "torch.Tensor"
        case ScalarType(kind=scalar):
            return scalar.value
        case ListType(element=element, is_tuple=is_tuple):
            return f"tuple[{_annotation(element)}, ...]" if is_tuple else f"list[{_annotation(element)}]"
        case ArrayType():
            raise InternalError("an array is handed to a subgraph")
        case StructType() | ObjectType() | UnionType() | DictType():
            return "object"
        case _:
            assert_never(kind)


def _write_op(op: TensorOp, names: _Names, environment: Environment) -> Iterable[str]:
    call = _write_call(op, names)
    comment = f"  # {op.loc}" if op.loc.line else ""
    plain = len(op.results) == 1 and _gives_tensor(op, environment)
    results = [names.define(value) for value in op.results]
    if plain:
        yield f"{results[0]} = {call}{comment}"
    elif results:
        left = f"({results[0]},)" if len(results) == 1 else ", ".join(results)
        yield f"{left} = tensors({call}){comment}"
    else:
        yield f"{call}{comment}"
    for before, after in op.mutates:
        old = names[before]
        yield f"{names.define(after)} = {old}  # written in place by the line above"


def _write_call(op: TensorOp, names: _Names) -> str:
    args = [write_operand(arg, names) for arg in op.args]
    named = [f"{name}={write_operand(arg, names)}" for name, arg in op.kwargs]
    match op.target:
        case CallModule(path=path):
            module = f'model.get_submodule("{path}")' if path else "model"
            return f"{module}({', '.join(args + named)})"
        case CallFunction(name=name) if name == _GET_ITEM and len(args) == 2:
            return f"{args[0]}[{args[1]}]"
        case CallFunction(name=name) if name.startswith(_TENSOR_METHOD) and op.args and isinstance(op.args[0], Ref):
            return f"{args[0]}.{name.removeprefix(_TENSOR_METHOD)}({', '.join(args[1:] + named)})"
        case CallFunction(name=name):
            return f"{name}({', '.join(args + named)})"
        case _:
            assert_never(op.target)


def _gives_tensor(op: TensorOp, environment: Environment) -> bool:
    """Whether the call is known to return a bare tensor, from its annotation or from torch's own schemas."""
    match op.target:
        case CallModule(path=path):
            module = environment.modules.get(path)
            if module is None:
                return False
            return inspect.signature(module.forward).return_annotation in (torch.Tensor, "Tensor", "torch.Tensor")
        case CallFunction(name=name):
            if name == _GET_ITEM:
                return True
            packet = getattr(torch.ops.aten, name.split(".")[-1], None)
            if packet is None:
                return False
            schemas = [getattr(packet, overload)._schema for overload in packet.overloads()]
            taking = [s for s in schemas if s.arguments and str(s.arguments[0].type) in ("Tensor", "List[Tensor]")]
            return bool(taking) and all(len(s.returns) == 1 and str(s.returns[0].type) == "Tensor" for s in taking)
        case _:
            assert_never(op.target)


def write_operand(operand: Operand, names: _Names) -> str:
    """The operand as a Python expression over the subgraph's names."""
    match operand:
        case Ref(id=value):
            return names[value]
        case Lit(value=value):
            return _write_literal(value)
        case TorchLit(text=text):
            return text
        case Weight(name=name):
            return f'weights["{name}"]'
        case Seq(kind=kind, items=items):
            return _write_sequence(kind, [write_operand(item, names) for item in items])
        case SliceOf(start=start, stop=stop, step=step):
            return f"slice({', '.join(write_operand(part, names) for part in (start, stop, step))})"
        case Mapping(items=pairs):
            return "{" + ", ".join(f"{key.value!r}: {write_operand(item, names)}" for key, item in pairs) + "}"
        case Record(class_name=class_name, fields=fields):
            inside = ", ".join(f"{name}={write_operand(item, names)}" for name, item in fields)
            return f"{class_name.split(':')[-1]}({inside})"
        case InputLeaf(index=index):
            return f"input_{index}"
        case _:
            assert_never(operand)


def _write_literal(value: object) -> str:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f'float("{value}")'
    return "..." if value is Ellipsis else repr(value)


def _write_sequence(kind: SeqKind, items: list[str]) -> str:
    inside = ", ".join(items)
    match kind:
        case SeqKind.LIST:
            return f"[{inside}]"
        case SeqKind.TUPLE:
            return f"({inside},)" if len(items) == 1 else f"({inside})"
        case SeqKind.SIZE:
            return f"torch.Size([{inside}])"
        case SeqKind.SET:
            return f"{{{inside}}}" if items else "set()"
        case _:
            assert_never(kind)
