"""What a procedure gives back, in a form that outlives an attempt: the nesting of values, without the values.

An outline is a nest of tuples. Its leaves, in order of traversal, are what the procedure replies with:

    ("tensor", dtype, sizes, shares)   None for a size that differs; whose memory it shares
    ("number", kind, known)            `...` where it is known at run time only
    ("object", schema), ("list", element, class)
    ("static", class, value)           nothing is handed back: it is known
    ("given", n), ("given tensor", n)  what the caller has handed in, itself
    ("back", n)                        a container that stands in the outline already
    ("items", class, outlines), ("dict", class, keys, outlines), ("instance", class, names, outlines)
"""

from __future__ import annotations

import collections
import types
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from dycl.diagnostics import UnsupportedError
from dycl.ir.values import ListType, ObjectType, Operand, ScalarKind, ScalarType, TensorType, Value, ValueType
from dycl.passes.specialize import parting
from dycl.passes.specialize.objects import make_tensor
from dycl.passes.specialize.scalars import kind_of
from dycl.passes.specialize.state import State
from dycl.passes.specialize.templates import ir_type
from dycl.passes.specialize.values import UNSET, RuntimeList, RuntimeObject, Scalar, Text
from dycl.passes.specialize.walker import Walker

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

Outline = tuple[Any, ...]
_COUNTED = (ScalarKind.INT, ScalarKind.FLOAT)
_ITEMS = (tuple, list, torch.Size)
_DICTS = (dict, collections.OrderedDict)


# ---------------------------------------------------------------- outlines alone


def leaf_types(outline: Outline) -> list[ValueType]:
    """The types of what is handed back; a size that differs has a name."""
    match outline:
        case ("tensor", dtype, sizes, _):
            dims = tuple("n" if size is None else size for size in sizes)
            return [TensorType(dtype, dims)]
        case ("number", kind, known):
            return [ScalarType(kind)] if known is ... else []
        case ("object", schema):
            return [ObjectType(schema)]
        case ("list", element, kind):
            return [ListType(ir_type(element), kind is tuple)]
        case _:
            return [leaf for part in _parts(outline) for leaf in leaf_types(part)]


def _parts(outline: Outline) -> tuple[Outline, ...]:
    return outline[-1] if outline[0] in ("items", "dict", "instance", "way") else ()


def fits(outline: Outline, known: Outline) -> bool:
    """Whether what has this outline can be handed back as the known one."""
    both = merged(outline, known)
    return both is not None and _same(both, known)


def _same(left: Any, right: Any) -> bool:
    """Equal and of the same types: 1 is not True, and 0.0 is not -0.0."""
    return repr(left) == repr(right) and bool(left == right)


def merged(left: Outline, right: Outline) -> Outline | None:
    """The outline that both have, their numbers and sizes forgotten where they differ; None if there is none."""
    if left[0] != right[0]:
        return None
    match left:
        case ("tensor", dtype, sizes, shares):
            if (dtype, len(sizes), shares) != (right[1], len(right[2]), right[3]):
                return None
            return ("tensor", dtype, tuple(a if a == b else None for a, b in zip(sizes, right[2], strict=True)), shares)
        case ("number", kind, known):
            if kind is not right[1]:
                return None
            if _same(known, right[2]):
                return left
            return ("number", kind, ...) if kind in _COUNTED or ... in (known, right[2]) else None
        case _ if not _parts(left) and not _parts(right):
            return left if left == right else None
    if left[:-1] != right[:-1] or len(left[-1]) != len(right[-1]):
        return None
    parts = [merged(a, b) for a, b in zip(left[-1], right[-1], strict=True)]
    return None if any(part is None for part in parts) else (*left[:-1], tuple(parts))


# ---------------------------------------------------------------- from values


class Outliner:
    """Takes apart what a procedure gives back, at its end."""

    def __init__(self, machine: Machine, state: State, given: Any, expected: Any) -> None:
        self._machine, self._state = machine, state
        self._walker = Walker(machine, state)
        self._walker.walk(expected, False)
        self._expected = self._again(expected)
        self._found = self._again(given)
        self._memory = {
            tensor.untyped_storage()._cdata: index for index, tensor in reversed(list(enumerate(self._walker.tensors)))
        }
        self._tensors = {machine.current_vid(tensor): index for index, tensor in enumerate(self._walker.tensors)}
        self._own: dict[int, int] = {}
        self._leaves: dict[int, int] = {}  # storage -> number of the tensor in the outline
        self._values: list[Any] = []
        self._keep: list[Any] = []

    def _again(self, values: Any) -> list[Any]:
        """The canonical form of values whose tensors are known already."""
        self._walker.forget_objects()
        before = len(self._walker.key)
        self._walker.walk(values, False)
        return self._walker.key[before:]

    def is_changed(self) -> bool:
        """Whether a container that was handed in has other content than before."""
        return self._expected != self._found

    def outline(self, value: Any) -> Outline:
        """The outline of the result, the model's state and its written weights."""
        journal = sorted(self._state.journal.items(), key=lambda item: (item[1].slot, item[1].kind))
        result = self._outline(value)
        kept = tuple(self._outline(entry.value) for _, entry in journal)
        weights = tuple(self._tensor(tensor) for tensor in self._machine.stateful_fakes.values())
        keys = tuple(key for key, _ in journal)
        return ("way", keys, (result, ("items", tuple, kept), ("items", tuple, weights)))

    def operands(self, known: Outline) -> list[Operand]:
        """What is handed back where the known outline, which fits, is expected."""
        values = iter(self._values)
        return self._operands(known, values)

    def _operands(self, known: Outline, values: Any) -> list[Operand]:
        match known:
            case ("number", _, number):
                value = next(values)
                return [self._machine.operand(value)] if number is ... else []
            case ("tensor", *_) | ("object", _) | ("list", _, _):
                return [self._machine.operand(next(values))]
            case _:
                return [operand for part in _parts(known) for operand in self._operands(part, values)]

    def _outline(self, value: Any) -> Outline:
        machine = self._machine
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            value = machine.scalar_of(value)
        if isinstance(value, FakeTensor):
            vid = machine.current_vid(value)
            return ("given tensor", self._tensors[vid]) if vid in self._tensors else self._tensor(value)
        if isinstance(value, (Scalar, Text)):
            return self._leaf(value, ("number", value.kind if isinstance(value, Scalar) else ScalarKind.STR, ...))
        if type(value) in (bool, int, float):
            return self._leaf(value, ("number", kind_of(value), value))
        if isinstance(value, RuntimeObject):
            return self._leaf(value, ("object", value.schema))
        if value is None or value is UNSET or type(value) in (str, bytes):
            return ("static", type(value), value)
        if self._walker.is_atom(value) or isinstance(value, (torch.dtype, torch.device)):
            machine.keep_alive(value)
            return ("static", id(value), _Held(value))
        if (number := self._walker.number_of(value)) is not None:
            return ("given", number)
        if id(value) in self._own:
            return ("back", self._own[id(value)])
        self._own[id(value)] = len(self._own)
        self._keep.append(value)
        return self._container(value)

    def _container(self, value: Any) -> Outline:
        kind: Any = type(value)
        if isinstance(value, RuntimeList):
            return self._leaf(value, ("list", value.element, value.kind))
        if kind in _ITEMS or (isinstance(value, tuple) and hasattr(kind, "_fields")):
            return ("items", kind, tuple(self._outline(item) for item in value))
        if kind in _DICTS:
            if all(type(key) in (str, int, float, bool) for key in value):
                return ("dict", kind, tuple(value), tuple(self._outline(item) for item in value.values()))
        elif _is_plain_instance(value):
            names = tuple(vars(value))
            return ("instance", kind, names, tuple(self._outline(vars(value)[name]) for name in names))
        raise UnsupportedError(
            "DY208",
            self._machine.loc(),
            f"a recursive function returns a {kind.__module__}.{kind.__qualname__}",
            hint="return tensors, numbers, lists, tuples, dicts or objects of a Python class",
        )

    def _leaf(self, value: Any, outline: Outline) -> Outline:
        self._values.append(value)
        return outline

    def _tensor(self, tensor: FakeTensor) -> Outline:
        machine = self._machine
        parting.check_whole(machine, tensor)
        storage = tensor.untyped_storage()._cdata
        sizes = tuple(size if isinstance(size, int) else None for size in tensor.shape)
        shares: Any = None
        if storage in self._memory:
            shares = ("given", self._memory[storage])
        elif storage in self._leaves:
            shares = ("result", self._leaves[storage])
        elif storage in machine.input_storages or storage in machine.weight_storages:
            shares = ("others",)
        self._leaves.setdefault(storage, len(self._leaves))
        dtype = str(tensor.dtype).removeprefix("torch.")
        return self._leaf(tensor, ("tensor", dtype, sizes, shares))


class _Held:
    """An object in an outline, equal to itself alone."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)

    def __repr__(self) -> str:
        return f"held {id(self.value)}"


def _is_plain_instance(value: Any) -> bool:
    kind: Any = type(value)
    return (
        hasattr(value, "__dict__")
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__module__ != "builtins"
        and not isinstance(value, (types.FunctionType, BaseException))
        and not any(getattr(cls, "__slots__", ()) for cls in kind.__mro__)
        and kind.__new__ is object.__new__
    )


# ---------------------------------------------------------------- to values


class Rebuilder:
    """Puts together what a procedure has given back, at its caller."""

    def __init__(self, machine: Machine, given: Any, leaves: tuple[Value, ...]) -> None:
        self._machine = machine
        self._walker = Walker(machine, machine.state)
        self._walker.walk(given, False)
        self._objects = self._walker.objects_met()
        self._leaves = iter(leaves)
        self._made: list[Any] = []
        self._tensors: list[FakeTensor] = []  # one for each memory, in order

    def build(self, outline: Outline) -> tuple[Any, list[tuple[Any, Any]], tuple[Any, ...]]:
        """The result, the state that is written, and the weights."""
        _, keys, (result, kept, weights) = outline
        value = self._build(result)
        return value, list(zip(keys, self._build(kept), strict=True)), self._build(weights)

    def _build(self, outline: Outline) -> Any:
        match outline:
            case ("tensor", dtype, sizes, shares):
                return self._tensor(dtype, sizes, shares)
            case ("number", kind, known):
                return self._number(kind) if known is ... else known
            case ("object", schema):
                return RuntimeObject(schema, next(self._leaves).id)
            case ("list", element, kind):
                return self._remember(RuntimeList(element, next(self._leaves).id, kind=kind))
            case ("static", _, value):
                return value.value if isinstance(value, _Held) else value
            case ("given", number):
                return self._objects[number]
            case ("given tensor", number):
                return self._walker.tensors[number]
            case ("back", number):
                return self._made[number]
            case ("items", kind, parts):
                return self._items(kind, parts)
            case ("dict", kind, keys, parts):
                table = self._remember(kind())
                table.update(zip(keys, [self._build(part) for part in parts], strict=True))
                return table
            case ("instance", kind, names, parts):
                made = self._remember(object.__new__(kind))
                for name, part in zip(names, parts, strict=True):
                    vars(made)[name] = self._build(part)
                return made
        raise AssertionError(outline)

    def _items(self, kind: Any, parts: tuple[Outline, ...]) -> Any:
        if kind is list:
            made = self._remember([])
            made.extend(self._build(part) for part in parts)
            return made
        place = len(self._made)
        self._made.append(None)
        items = [self._build(part) for part in parts]
        self._made[place] = made = kind(*items) if hasattr(kind, "_fields") else kind(items)
        return made

    def _remember(self, made: Any) -> Any:
        self._made.append(made)
        return made

    def _number(self, kind: ScalarKind) -> Any:
        scalar = Scalar(kind, next(self._leaves).id)
        if kind is ScalarKind.INT:
            self._machine._give_symbol(scalar)
        return scalar

    def _tensor(self, dtype: str, sizes: tuple[int | None, ...], shares: Any) -> FakeTensor:
        machine = self._machine
        leaf = next(self._leaves)
        dims = tuple(f"n{dim}" if size is None else size for dim, size in enumerate(sizes))
        tensor = make_tensor(machine, leaf.id, TensorType(dtype, dims), is_frozen=shares == ("others",))
        if shares is None or shares == ("others",):
            self._tensors.append(tensor)
            return tensor
        owner = self._walker.tensors[shares[1]] if shares[0] == "given" else self._tensors[shares[1]]
        return self._view(owner, tensor, leaf)

    def _view(self, owner: FakeTensor, tensor: FakeTensor, leaf: Value) -> FakeTensor:
        """A tensor of this shape in the memory of another."""
        machine = self._machine
        with unset_fake_temporarily(), machine.fake, torch._C.DisableTorchFunction():
            view = owner.as_strided(tensor.shape, [0] * tensor.dim())
        view._dycl_root = leaf.id  # type: ignore[attr-defined]
        machine.keep.append(view)
        storage = view.untyped_storage()._cdata
        machine.state.aliases[storage] = (*machine.state.aliases.get(storage, ()), leaf.id)
        return view  # type: ignore[return-value]
