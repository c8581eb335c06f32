"""Every identifier of a host: source names where possible, and no two values that are alive together under one name.

SSA is left here. A block parameter gets the name of its arguments unless their live ranges overlap; what cannot share
is copied on the edge.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dycl.hostgen.inlining import Inlining
from dycl.hostgen.liveness import Overlaps
from dycl.ir.dataflow import op_definitions
from dycl.ir.graph import block_order
from dycl.ir.nodes import Block, Dispatch, HostOp, Invoke, edges
from dycl.ir.printer import print_type
from dycl.ir.program import Program
from dycl.ir.values import (
    ArrayForm,
    ArrayType,
    DictType,
    ListType,
    ObjectType,
    Ref,
    ScalarType,
    StructType,
    TensorType,
    UnionType,
    Value,
    ValueId,
)

# Names that the host's own text uses in `forward`.
OWN = frozenset(
    {"as_array", "is_a", "self", "decide", "goto", "np", "math", "operator", "numerics", "Any", "Callable", "Path"}
) | {
    "fetch",
    "array_of",
    "size_of",
    "printing",
    "randomness",
    "time",
    "Runtime",
    "Host",
    "NamedTuple",
}
# Names that read badly in any font.
_UNREADABLE = frozenset({"l", "O", "I"})
_RESERVED = OWN | _UNREADABLE | frozenset(dir(builtins)) | frozenset(keyword.kwlist) | frozenset(keyword.softkwlist)

_OPERATION_NAMES = {
    "list_append": "items",
    "list_get": "item",
    "list_len": "length",
    "size": "size",
    "size_of": "size",
    "array_of": "array",
    "item": "item",
    "peek": "item",
    "item_at": "item",
    "peek_at": "item",
    "argmax": "place",
    "argmin": "place",
    "getitem": "part",
    "of_tensor": "array",
    "fetch": "fetched",
}
_TESTS = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "not_", "bool"})


def identifier(text: str, default: str = "value") -> str:
    """The text as an identifier that means nothing else in a host."""
    name = re.sub(r"\W", "_", text.rpartition(".")[2], flags=re.ASCII).strip("_") or default
    if name[0].isdigit():
        name = f"{default}_{name}"
    return f"{name}_" if name in _RESERVED else name


def unique(name: str, taken: Iterable[str]) -> str:
    """The name, with a number if it is taken."""
    used = set(taken)
    number = 0
    candidate = name
    while candidate in used:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


@dataclass(slots=True)
class _Classes:
    """Values under one name: a union-find with the overlaps of each class."""

    parent: dict[ValueId, ValueId]
    overlaps: dict[ValueId, set[ValueId]]
    members: dict[ValueId, list[ValueId]] = field(default_factory=dict)

    def find(self, value: ValueId) -> ValueId:
        root = value
        while self.parent[root] != root:
            root = self.parent[root]
        while self.parent[value] != root:
            self.parent[value], value = root, self.parent[value]
        return root

    def overlap(self, a: ValueId, b: ValueId) -> bool:
        a, b = self.find(a), self.find(b)
        if len(self.overlaps[a]) > len(self.overlaps[b]):
            a, b = b, a
        return any(self.find(other) == b for other in self.overlaps[a])

    def join(self, a: ValueId, b: ValueId) -> None:
        a, b = self.find(a), self.find(b)
        if a == b:
            return
        if len(self.members[a]) < len(self.members[b]):
            a, b = b, a
        self.parent[b] = a
        self.members[a] += self.members.pop(b)
        self.overlaps[a] |= self.overlaps.pop(b)


@dataclass(frozen=True, slots=True)
class Names:
    """The identifier of each value that is ever read; `_` is what no one reads."""

    of: dict[ValueId, str]

    def __getitem__(self, value: ValueId) -> str:
        return self.of.get(value, "_")


def choose_names(
    program: Program,
    inlining: Inlining,
    overlaps: Overlaps,
    appends: Iterable[tuple[ValueId, ValueId]],
    taken: set[str],
) -> Names:
    """Give every named value its identifier; `appends` pairs lists that would like to share one."""
    values = [v for block in _blocks(program) for v in _named(block, inlining) if v.id in overlaps.used]
    by_id = {value.id: value for value in values}
    classes = _Classes(
        {value: value for value in by_id},
        {value: {o for o in overlaps.pairs.get(value, ()) if o in by_id} for value in by_id},
        {value: [value] for value in by_id},
    )
    wishes = [*appends, *_copies(program)]
    for a, b in wishes:
        if a in by_id and b in by_id and _kind(by_id[a]) == _kind(by_id[b]) and not classes.overlap(a, b):
            classes.join(a, b)
    return Names(_assign(values, classes, by_id, _default_names(program), taken))


def _blocks(program: Program) -> list[Block]:
    return [program.block(block) for block in block_order(program)]


def _named(block: Block, inlining: Inlining) -> Iterator[Value]:
    yield from block.params
    for op in inlining.statements(block):
        yield from op_definitions(op)


def _copies(program: Program) -> list[tuple[ValueId, ValueId]]:
    """Parameter and argument of every edge; those of loops first, their copies run most often."""
    place = {block: index for index, block in enumerate(block_order(program))}
    back: list[tuple[ValueId, ValueId]] = []
    forward: list[tuple[ValueId, ValueId]] = []
    for block in _blocks(program):
        for edge in edges(block.end):
            target = program.block(edge.target)
            pairs = [(p.id, a.id) for p, a in zip(target.params, edge.args, strict=True) if isinstance(a, Ref)]
            (back if place[target.id] <= place[block.id] else forward).extend(pairs)
    return back + forward


def _kind(value: Value) -> str:
    """What a type checker tells apart: values of two kinds never share a name."""
    match value.type:
        case TensorType():
            return "array"
        case ScalarType(kind=kind):
            return kind.value
        case ArrayType(dtype=dtype, form=form):
            return f"numpy {dtype}" if form is ArrayForm.SCALAR else "array"
        case ListType(element=element, is_tuple=is_tuple):
            return f"{'tuple' if is_tuple else 'list'} {_kind(Value(value.id, element))}"
        case DictType():
            return print_type(value.type)
        case StructType():
            return print_type(value.type)
        case ObjectType() | UnionType():
            return "object"


def _default_names(program: Program) -> dict[ValueId, str]:
    """A readable name for values that had none in the source, from the operation that makes them."""
    found: dict[ValueId, str] = {}
    for block in program.blocks:
        for op in block.ops:
            match op:
                case HostOp(function=function, result=result):
                    found[result.id] = _operation_name(function)
                case Dispatch(results=results) | Invoke(results=results):
                    found.update((result.id, "out") for result in results)
    return found


def _operation_name(function: str) -> str:
    """A name for the result of a host function."""
    base = function.removeprefix("math.").removeprefix("np.operator.").partition("[")[0]
    base = base.rpartition(".")[2]
    return _OPERATION_NAMES.get(base, "test" if base in _TESTS else base).rstrip("_")


_KIND_NAMES = {"array": "tensor", "int": "number", "float": "number", "bool": "flag", "str": "text"}


def _assign(
    values: list[Value], classes: _Classes, by_id: dict[ValueId, Value], defaults: dict[ValueId, str], taken: set[str]
) -> dict[ValueId, str]:
    """Name the classes in program order; classes of one base name merge unless they overlap."""
    names: dict[ValueId, str] = {}
    holders: dict[str, ValueId] = {}
    for value in values:
        if value.id in names:
            continue
        root = classes.find(value.id)
        members = classes.members[root]
        base = _base_name([by_id[member] for member in members], defaults)
        candidate, number = base, 0
        while candidate in taken or (candidate in holders and not _may_share(holders[candidate], root, classes, by_id)):
            number += 1
            candidate = f"{base}_{number}"
        names.update((member, candidate) for member in members)
        if candidate in holders:
            classes.join(holders[candidate], root)
        holders[candidate] = classes.find(root)
    return names


def _may_share(a: ValueId, b: ValueId, classes: _Classes, by_id: dict[ValueId, Value]) -> bool:
    return _kind(by_id[a]) == _kind(by_id[b]) and not classes.overlap(a, b)


def _base_name(members: list[Value], defaults: dict[ValueId, str]) -> str:
    given = Counter(member.name for member in members if member.name)
    if given:
        return identifier(given.most_common(1)[0][0])
    named = next((defaults[member.id] for member in members if member.id in defaults), "")
    return identifier(named or _KIND_NAMES.get(_kind(members[0]), "items"))
