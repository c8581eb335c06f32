"""Make identical subgraphs one, and number the structures: subgraphs that differ in their weights alone share one.

Before (`blocks.0` and `blocks.1` are two `nn.Linear(4, 4)`)::

    subgraph s0 00_block0 (%0: float32[1, 4]):
      %1: float32[1, 4] = module blocks.0(%0)
      results (%1)
    subgraph s1 01_block1 (%0: float32[1, 4]):
      %1: float32[1, 4] = module blocks.1(%0)
      results (%1)
    subgraph s2 02_block0 (%0: float32[1, 4]):
      %1: float32[1, 4] = module blocks.0(%0)
      results (%1)

After; what dispatched to `s2` dispatches to `s0`::

    subgraph s0 00_block0 structure 0 (%0: float32[1, 4]):
      %1: float32[1, 4] = module blocks.0(%0)
      results (%1)
    subgraph s1 01_block1 structure 0 (%0: float32[1, 4]):
      %1: float32[1, 4] = module blocks.1(%0)
      results (%1)

A target exports each structure once and binds the weights of each subgraph: `weight_slots` names them in one order.

A subgraph in which two sizes are the same is one of those in which they may differ, and is served by it::

    subgraph s0 00_first (%0: float32[u0, 4], %1: int64[u0]):
    subgraph s1 01_later (%0: float32[u0, 4], %1: int64[u1]):

The first round of a loop and the later ones are such a pair, for what a round is handed grows smaller than it was. A
session that was run before in the same call is still in the processor's caches; a second one takes twice its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import torch

from dycl.diagnostics import InternalError
from dycl.ir.dataflow import op_operands
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, CallFunction, CallModule, Dispatch, Subgraph, TensorOp
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.sizes import replace_names, size_names
from dycl.ir.values import (
    ArrayType,
    DictType,
    ListType,
    Lit,
    Mapping,
    ObjectType,
    Operand,
    Record,
    Ref,
    ScalarType,
    Seq,
    SliceOf,
    StructType,
    SubgraphId,
    TensorType,
    UnionType,
    Value,
    ValueId,
    ValueType,
    Weight,
)
from dycl.passes.analysis.fingerprint import portable
from dycl.passes.analysis.naming import renumber_name
from dycl.passes.analysis.structure import Key, Slot, module_key, module_slots, weight_type

Weights = dict[str, torch.Tensor]


def run(program: Program, environment: Environment) -> Program:
    """The program with each subgraph once, and the structures numbered in order of first appearance."""
    structures: dict[Key, int] = {}
    first: dict[Key, Subgraph] = {}
    described = _describe_all(program.subgraphs, environment)
    most_general = _find_most_general(described)
    for subgraph in program.subgraphs:
        identity = described[subgraph.id].identity
        if most_general[subgraph.id] == identity and identity not in first:
            index = len(first)
            name = renumber_name(index, subgraph.name)
            structure = structures.setdefault(described[subgraph.id].key, len(structures))
            first[identity] = replace(subgraph, id=SubgraphId(index), name=name, structure=structure)
    now = {subgraph: first[identity].id for subgraph, identity in most_general.items()}
    blocks = tuple(_redirect(block, now) for block in program.blocks)
    return renumber(replace(program, blocks=blocks, subgraphs=tuple(first.values())))


def structure_key(subgraph: Subgraph, environment: Environment) -> Key:
    """What is equal for subgraphs that compute the same but for the content of their weights.

    It compares within one process only.
    """
    return _Describer(environment, _weight_names(environment), {}).describe(subgraph).key


def portable_structure(subgraph: Subgraph, environment: Environment, weights: Weights | None = None) -> str | None:
    """The structure as a text that is the same in every process, or None where it has something of this process in it.

    It tells more than `structure_key`: names of run-time sizes, how weights lie in memory and which of them overlap.
    """
    named = weights or named_weights(environment)
    described = _Describer(environment, _weight_names(environment, named), {}).describe(subgraph)
    text = portable(described.key)
    if text is None:
        return None
    types = tuple(str(value.type) for value in subgraph.params)
    return repr((text, types, tuple(_layouts([named[name] for name in described.weights]))))


def _layouts(tensors: list[torch.Tensor]) -> Iterator[Key]:
    """How each weight lies in memory, and which of them is the first in the same memory."""
    first: dict[int, int] = {}
    for index, tensor in enumerate(tensors):
        memory = tensor.untyped_storage().data_ptr() if tensor.numel() else -1 - index
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        yield (tensor.stride(), tensor.storage_offset(), first.setdefault(memory, index), is_parameter)


def weight_slots(subgraph: Subgraph, environment: Environment, weights: Weights | None = None) -> tuple[str, ...]:
    """The weights of a subgraph, each once, by their names in `named_weights`, in order of first use.

    Subgraphs of equal structure have as many, and the i-th of one stands where the i-th of the other does. `weights`:
    those of the environment, where the caller has them already.
    """
    return _Describer(environment, _weight_names(environment, weights), {}).describe(subgraph).weights


def named_weights(environment: Environment) -> Weights:
    """Every weight that a subgraph can use, once: those the environment names, then those of its modules by path."""
    weights: Weights = {}
    seen: set[int] = set()
    slots = [Slot(name, tensor) for name, tensor in environment.weights.items()]
    for path, module in environment.modules.items():
        slots += module_slots(path, module)
    for slot in slots:
        if id(slot.tensor) in seen:
            continue
        if slot.name in weights:
            raise InternalError(f"the environment names another tensor {slot.name!r} than the module has")
        seen.add(id(slot.tensor))
        weights[slot.name] = slot.tensor
    return weights


def _redirect(block: Block, now: dict[SubgraphId, SubgraphId]) -> Block:
    ops = tuple(replace(op, subgraph=now[op.subgraph]) if isinstance(op, Dispatch) else op for op in block.ops)
    return replace(block, ops=ops)


def _weight_names(environment: Environment, weights: Weights | None = None) -> dict[int, str]:
    """The name of each tensor object of the environment."""
    return {id(tensor): name for name, tensor in (weights or named_weights(environment)).items()}


@dataclass(frozen=True, slots=True)
class _Description:
    key: Key
    weights: tuple[str, ...]
    outline: Key  # the key without sizes
    sizes: tuple[int | str, ...]  # in the order in which they come

    @property
    def identity(self) -> Key:
        """What is equal for subgraphs that are one."""
        return (self.key, self.weights)

    def serves(self, other: _Description) -> bool:
        """Whether the other, of the same outline, is this one where some sizes are equal, or arithmetic of others.

        A size that is a number there has to be one here: with numbers a target knows more.
        """
        bound: dict[str, int | str] = {}
        for size, found in zip(self.sizes, other.sizes, strict=True):
            if isinstance(size, str) and size.isidentifier() and isinstance(found, str):
                bound.setdefault(size, found)
        replaced = (replace_names(size, bound) if isinstance(size, str) else size for size in self.sizes)
        return all(one == two for one, two in zip(replaced, other.sizes, strict=True))


def _describe_all(subgraphs: Sequence[Subgraph], environment: Environment) -> dict[SubgraphId, _Description]:
    names = _weight_names(environment)
    keys: dict[str, Key] = {}
    return {subgraph.id: _Describer(environment, names, keys).describe(subgraph) for subgraph in subgraphs}


def _find_most_general(described: dict[SubgraphId, _Description]) -> dict[SubgraphId, Key]:
    """The identity of what serves each subgraph: its own, where nothing more general does."""
    alike: dict[Key, dict[Key, _Description]] = {}
    for one in described.values():
        alike.setdefault((one.outline, one.weights), {})[one.identity] = one
    found = {}
    for subgraph, own in described.items():
        kinds = alike[own.outline, own.weights].values()
        others = [kind for kind in kinds if kind.key != own.key and kind.serves(own)]
        most = (one for one in others if not any(kind.key != one.key and kind.serves(one) for kind in kinds))
        found[subgraph] = next(most, own).identity
    return found


class _Describer:
    """Describes one subgraph: values, weights and named dimensions are numbered as they come."""

    def __init__(self, environment: Environment, names: dict[int, str], keys: dict[str, Key]) -> None:
        self._environment = environment
        self._sizes: list[int | str] = []
        self._names = names
        self._keys = keys  # of modules, by path
        self._values: dict[ValueId, int] = {}
        self._weights: dict[str, int] = {}

    def describe(self, subgraph: Subgraph) -> _Description:
        """The key and the weights."""
        params = tuple((self._define(value), self._type(value.type)) for value in subgraph.params)
        ops = tuple(self._op(op) for op in subgraph.ops)
        results = tuple(self._values[value] for value in subgraph.results)
        outline = (params, ops, results)
        key = (outline, tuple(self._number_names()))
        return _Description(key, tuple(self._weights), outline, tuple(self._sizes))

    def _define(self, value: Value) -> int:
        return self._values.setdefault(value.id, len(self._values))

    def _type(self, of: ValueType) -> Key:
        match of:
            case TensorType(dtype=dtype, shape=shape):
                return ("tensor", dtype, tuple(self._dim(size) for size in shape))
            case ListType(element=element, is_tuple=is_tuple):
                return ("list", is_tuple, self._type(element))
            case ArrayType(dtype=dtype, shape=shape):
                return ("array", dtype, tuple(self._dim(size) for size in shape))
            case StructType():
                return ("struct", of)
            case ObjectType() | UnionType() | DictType():
                raise InternalError("a subgraph takes no object")
            case ScalarType(kind=kind, size=size):
                return ("scalar", kind.value, self._dim(size) if size else ())
            case _:
                assert_never(of)

    def _dim(self, size: int | str) -> Key:
        """Where a size stands; what it is, `_sizes` knows."""
        self._sizes.append(size)
        return ("size",)

    def _number_names(self) -> Iterator[Key]:
        """The sizes with their names numbered as they come."""
        numbers: dict[str, int] = {}
        for size in self._sizes:
            named = {name: f"d{numbers.setdefault(name, len(numbers))}" for name in size_names(size)}
            yield ("size", size) if isinstance(size, int) else ("name", replace_names(size, named))

    def _op(self, op: TensorOp) -> Key:
        operands = tuple(self._operand(operand) for operand in op_operands(op))
        return (
            self._target(op),
            len(op.args),
            operands,
            tuple(name for name, _ in op.kwargs),
            tuple((self._define(value), self._type(value.type)) for value in op.results),
            tuple((self._values[old], self._define(new)) for old, new in op.mutates),
            tuple((self._dim(size), self._dim(equal)) for size, equal in op.sizes),
        )

    def _target(self, op: TensorOp) -> Key:
        match op.target:
            case CallFunction(name=name):
                return ("function", name)
            case CallModule(path=path):
                module = self._environment.modules[path]
                if path not in self._keys:
                    self._keys[path] = module_key(module)
                return ("module", self._keys[path], tuple(self._slots(path, module)))

    def _slots(self, path: str, module: torch.nn.Module) -> Iterator[int]:
        """The number of the weight in each slot: which slots hold the same weight is part of the structure."""
        for slot in module_slots(path, module):
            yield self._weight(slot)

    def _weight(self, slot: Slot) -> int:
        return self._weights.setdefault(self._names[id(slot.tensor)], len(self._weights))

    def _operand(self, operand: Operand) -> Key:
        match operand:
            case Ref(id=value):
                return ("value", self._values[value])
            case Weight(name=name):
                tensor = self._environment.weights[name]
                return ("weight", weight_type(tensor), self._weight(Slot(name, tensor)))
            case Seq(kind=kind, items=items):
                return ("sequence", kind.value, tuple(self._operand(item) for item in items))
            case SliceOf(start=start, stop=stop, step=step):
                return ("slice", self._operand(start), self._operand(stop), self._operand(step))
            case Mapping(items=pairs):
                return ("mapping", tuple((self._operand(key), self._operand(item)) for key, item in pairs))
            case Record(kind=kind, class_name=name, fields=fields):
                return ("record", kind.value, name, tuple((field, self._operand(item)) for field, item in fields))
            case Lit(value=value):
                return ("literal", type(value).__name__, repr(value))
            case _:
                return ("constant", repr(operand))
