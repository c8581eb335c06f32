"""A subgraph as a torch module: the calls it records, made again on the model's own submodules and weights.

The module runs eagerly (the reference of the numerical check) and under `torch.export`. Host scalars arrive as 0-d
int64, float64 or bool tensors and become Python numbers by `.item()`, so that torch gives them exactly the meaning of
the number in the source (`x * s` stays float32) and the exporter sees a number that it must not fix.
"""

from __future__ import annotations

from typing import assert_never

import torch
from torch.utils import _pytree as pytree

from dycl.diagnostics import InternalError
from dycl.ir.environment import Environment
from dycl.ir.nodes import CallFunction, CallModule, Subgraph, TensorOp
from dycl.ir.resolve import resolve_function, resolve_torch
from dycl.ir.sizes import evaluate_size, is_arithmetic, size_names
from dycl.ir.values import (
    InputLeaf,
    Lit,
    Mapping,
    Operand,
    Record,
    Ref,
    ScalarType,
    Seq,
    SeqKind,
    SliceOf,
    TensorType,
    TorchLit,
    ValueId,
    Weight,
    refs,
)

_LARGE = 1 << 20  # as a size


class SubgraphModule(torch.nn.Module):
    """Run the operations of a subgraph in order; the results are the tensors as they are after the last operation."""

    def __init__(self, subgraph: Subgraph, environment: Environment) -> None:
        super().__init__()
        self.subgraph = subgraph
        self._last_use = _last_uses(subgraph)
        self._module_keys: dict[str, str] = {}
        self._weight_keys: dict[str, str] = {}
        for op in subgraph.ops:
            if isinstance(op.target, CallModule):
                self._add_module(op.target.path, environment)
            for operand in (*op.args, *(item for _, item in op.kwargs)):
                for name in weight_names(operand):
                    self._add_weight(name, environment)

    def _add_module(self, path: str, environment: Environment) -> None:
        if path not in self._module_keys:
            self._module_keys[path] = key = f"m{len(self._module_keys)}"
            self.add_module(key, environment.modules[path])

    def _add_weight(self, name: str, environment: Environment) -> None:
        if name in self._weight_keys:
            return
        self._weight_keys[name] = key = f"w{len(self._weight_keys)}"
        tensor = environment.weights[name]
        if isinstance(tensor, torch.nn.Parameter):
            self.register_parameter(key, tensor)
        else:
            self.register_buffer(key, tensor)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The results for inputs in the order of the parameters."""
        values: dict[ValueId, object] = {}
        sizes = self._sizes(inputs)
        for param, given in zip(self.subgraph.params, inputs, strict=True):
            values[param.id] = _number(param.type, given, sizes) if isinstance(param.type, ScalarType) else given
        for index, op in enumerate(self.subgraph.ops):
            self._run(op, values)
            for dead in self._last_use.get(index, ()):
                values.pop(dead, None)
        return tuple(_tensor(values[result]) for result in self.subgraph.results)

    def _sizes(self, inputs: tuple[torch.Tensor, ...]) -> dict[str, object]:
        """The run-time sizes that the shapes of the inputs tell, by name."""
        sizes: dict[str, object] = {}
        for param, given in zip(self.subgraph.params, inputs, strict=True):
            if isinstance(param.type, TensorType):
                for dim, size in enumerate(param.type.shape):
                    if isinstance(size, str) and size.isidentifier():
                        sizes.setdefault(size, given.shape[dim])
        return sizes

    def _run(self, op: TensorOp, values: dict[ValueId, object]) -> None:
        args = [self._operand(arg, values) for arg in op.args]
        kwargs = {name: self._operand(arg, values) for name, arg in op.kwargs}
        match op.target:
            case CallModule(path=path):
                returned = self.get_submodule(self._module_keys[path])(*args, **kwargs)
            case CallFunction(name=name):
                returned = resolve_function(name)(*args, **kwargs)
            case _:
                assert_never(op.target)
        leaves = [leaf for leaf in pytree.tree_leaves(returned) if isinstance(leaf, torch.Tensor)]
        if len(leaves) != len(op.results):
            raise InternalError(f"{self.subgraph.name}: {op.target} gave {len(leaves)} tensors, not {len(op.results)}")
        for result, leaf in zip(op.results, leaves, strict=True):
            values[result.id] = leaf
        for old, new in op.mutates:  # the same memory under the name of its new content
            values[new.id] = values[old]

    def _operand(self, operand: Operand, values: dict[ValueId, object]) -> object:
        match operand:
            case Ref(id=value):
                return values[value]
            case Lit(value=literal):
                return literal
            case TorchLit(text=text):
                return resolve_torch(text)
            case Weight(name=name):
                return getattr(self, self._weight_keys[name])
            case Seq(kind=kind, items=items):
                return _sequence(kind, [self._operand(item, values) for item in items])
            case SliceOf(start=start, stop=stop, step=step):
                return slice(*(self._operand(part, values) for part in (start, stop, step)))
            case Mapping(items=pairs):
                return {key.value: self._operand(item, values) for key, item in pairs}
            case Record() | InputLeaf():
                raise InternalError(f"{self.subgraph.name}: {operand} cannot be an operand of a tensor operation")
            case _:
                assert_never(operand)


def _number(of: ScalarType, given: torch.Tensor, sizes: dict[str, object]) -> object:
    """The Python number of a parameter. A size that the other inputs tell is read from them: so they fit together.

    What such sizes leave of a number (`3 - n`) is a number of its own: an exporter takes it for the one that it sees.
    """
    if of.size.isdigit():
        return int(of.size)
    names = set(size_names(of.size))
    if of.size and is_arithmetic(of.size) and sizes.keys() >= names and not _falls(of.size, names):
        return evaluate_size(of.size, sizes)
    return given.item()


def _falls(size: str, names: set[str]) -> bool:
    """Whether the size is less where all that it is made of is large."""
    return bool(evaluate_size(size, dict.fromkeys(names, _LARGE)) < 0)


def weight_names(operand: Operand) -> tuple[str, ...]:
    """The weights an operand names, in order."""
    match operand:
        case Weight(name=name):
            return (name,)
        case Seq(items=items):
            return tuple(n for item in items for n in weight_names(item))
        case SliceOf(start=start, stop=stop, step=step):
            return weight_names(start) + weight_names(stop) + weight_names(step)
        case Mapping(items=pairs):
            return tuple(n for _, item in pairs for n in weight_names(item))
        case Record(fields=fields):
            return tuple(n for _, item in fields for n in weight_names(item))
        case Ref() | Lit() | TorchLit() | InputLeaf():
            return ()
        case _:
            assert_never(operand)


def _sequence(kind: SeqKind, items: list[object]) -> object:
    match kind:
        case SeqKind.TUPLE:
            return tuple(items)
        case (
            SeqKind.SIZE
        ):  # a torch.Size cannot hold the exporter's symbolic ints; torch takes a tuple for it everywhere
            return tuple(items)
        case SeqKind.LIST:
            return items
        case SeqKind.SET:
            return set(items)
        case _:
            assert_never(kind)


def _tensor(value: object) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise InternalError(f"a subgraph hands out {value!r}, which is not a tensor")
    return value


def _last_uses(subgraph: Subgraph) -> dict[int, tuple[ValueId, ...]]:
    """For each operation, the values that nothing reads after it: intermediate tensors are freed early."""
    last: dict[ValueId, int] = {}
    for index, op in enumerate(subgraph.ops):
        for operand in (*op.args, *(item for _, item in op.kwargs)):
            last.update(dict.fromkeys(refs(operand), index))
        last.update(dict.fromkeys((result.id for result in op.results), index))
        for old, new in op.mutates:
            last[old] = last[new.id] = index
    kept = set(subgraph.results)
    ends: dict[int, tuple[ValueId, ...]] = {}
    for value, index in last.items():
        if value not in kept:
            ends[index] = (*ends.get(index, ()), value)
    return ends
