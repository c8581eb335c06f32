"""What a call is given and writes to: the caller's lists, dicts and tensors, values of the run, handed back at its end.

Before: a list of the caller's is an object of before the run; who writes to it has the compile begin again. After: the
run works on a copy, as on any list that it has made, so that paths fork and loops close. The copy stays a live value
until the path ends. There it is held against what was given, and the differences are the writes of the path's end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import SourceRange, UnsupportedError
from dycl.ir.nodes import Write, WriteKind
from dycl.ir.values import Lit, Ref, ValueId
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.values import RuntimeList, RuntimeObject, Scalar, Text

if TYPE_CHECKING:
    from dycl.passes.specialize.exits import Exit, OutputBuilder
    from dycl.passes.specialize.machine import Machine
    from dycl.passes.specialize.variants import Canonical

Place = tuple[Any, ...]  # the name of the method (in `State.received`), that of a parameter, then indices and keys
_LEAVES = (FakeTensor, Scalar, Text)


def begin_again(machine: Machine) -> bool:
    """Have the next attempt work on copies of what is given; False where it does, or may not."""
    if machine.hints.received or machine.has_input_objects:
        return False
    machine.hints.received = True
    raise Restart("the model writes to what it is given")


def fresh(value: Any) -> Any:
    """The same nest in containers of its own, for a run that may change them."""
    if type(value) in (list, dict):
        return {k: fresh(item) for k, item in value.items()} if type(value) is dict else [fresh(item) for item in value]
    if isinstance(value, tuple):
        items = [fresh(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def places(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """What has to be told from its like at the end: containers that may change, and what is no literal, by place."""
    if type(value) in (list, dict) or isinstance(value, _LEAVES):
        yield place, value
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from places(item, (*place, index))
    elif type(value) is dict:
        for key, item in value.items():
            yield from places(item, (*place, key))


def has_objects(value: Any) -> bool:
    """Whether an object of the caller's is in there, which may hold anything else that is given."""
    if isinstance(value, (list, tuple)):
        return any(map(has_objects, value))
    return any(map(has_objects, value.values())) if isinstance(value, dict) else isinstance(value, RuntimeObject)


def filled(machine: Machine, storage: int) -> bool:
    """Whether a tensor that is given may be written: noted for the ends of paths, which all come later."""
    found = [
        place
        for place, value in machine.state.received.items()
        if isinstance(value, FakeTensor) and machine.memory_of(value) == storage
    ]
    if not found:
        return begin_again(machine)
    machine.hints.filled.update(found)
    return True


class Carried:
    """Tensors that come into a block: on one way there one may be the caller's, on another the run's own.

    That makes no difference until one is written. Then the next attempt works on copies of what is given, and states
    are told apart by which of their tensors is a given one.
    """

    def __init__(self) -> None:
        self._given: dict[Any, tuple[bool, ...]] = {}  # by form: which tensors of its first state are the caller's
        self._params: set[ValueId] = set()
        self._mixes = False
        self._written: SourceRange | None = None  # where one of them is written first
        self._array_written: SourceRange | None = None

    def begin(self, form: Canonical, params: tuple[ValueId, ...]) -> None:
        """A block begins with this state."""
        self._given[form.key] = form.given
        self._params.update(params)

    def meet(self, machine: Machine, form: Canonical) -> None:
        """A state comes to a block that was begun with another."""
        if self._given.get(form.key, form.given) != form.given:
            self._mixes = True
            self._check(machine)

    def write(self, machine: Machine, roots: tuple[ValueId, ...]) -> None:
        """Tensors of these names are written."""
        if not self._params.isdisjoint(roots):
            self._written = self._written or machine.loc()
            self._check(machine)

    def write_array(self, machine: Machine, roots: tuple[ValueId, ...]) -> None:
        """The same of an array: who writes to one that is the memory of an input is refused."""
        if not self._params.isdisjoint(roots):
            self._array_written = self._array_written or machine.loc()
            self._check(machine)

    def _check(self, machine: Machine) -> None:
        if not self._mixes:
            return
        is_refused = self._written is not None and not machine.hints.received and not begin_again(machine)
        where = self._written if is_refused else self._array_written
        if where is not None:
            raise UnsupportedError(
                "DY212",
                where,
                "what is written in place is an input of the model on one way there and its own on another",
                hint="write into a copy of it",
            )


class Handback:
    """The writes at the end of one path; see the module docstring.

    `given` is the name of the method and what it was given, as it was then, by parameter.
    """

    def __init__(
        self, machine: Machine, outputs: OutputBuilder, given: tuple[str, dict[str, Any]], leaving: Exit
    ) -> None:
        self._machine, self._outputs, self._loc = machine, outputs, leaving.loc
        method, self._given = given
        self._filled = {place[1:] for place in machine.hints.filled if place[0] == method}
        self._received = {place[1:]: value for place, value in leaving.state.received.items()}
        self._homes = {id(value): place for place, value in self._received.items() if type(value) in (list, dict)}

    def writes(self) -> tuple[Write, ...]:
        """All of them: tensors first, then what is inside before what it is in, so that each place is still there."""
        found = [
            Write(WriteKind.FILL, place, Ref(self._machine.current_vid(value)))
            for place, value in self._received.items()
            if place in self._filled
        ]
        for place, value in sorted(self._received.items(), key=lambda item: -len(item[0])):
            if isinstance(value, RuntimeList):
                found.append(Write(WriteKind.REPLACE, place, self._operand(value)))
            elif isinstance(value, list):
                found += self._list(place, self._original(place), value)
            elif isinstance(value, dict):
                found += self._dict(place, self._original(place), value)
        return tuple(found)

    def _original(self, place: Place) -> Any:
        found = self._given[place[0]]
        for step in place[1:]:
            found = found[step]
        return found

    def _list(self, place: Place, before: list[Any], after: list[Any]) -> Iterator[Write]:
        for index, (old, new) in enumerate(zip(before, after, strict=False)):
            if not self._stays((*place, index), old, new):
                yield Write(WriteKind.SET, (*place, index), self._operand(new))
        for new in after[len(before) :]:
            yield Write(WriteKind.APPEND, place, self._operand(new))
        if len(after) < len(before):
            yield Write(WriteKind.TRUNCATE, place, Lit(len(after)))

    def _dict(self, place: Place, before: dict[Any, Any], after: dict[Any, Any]) -> Iterator[Write]:
        """Keys that keep their order stay where they are; from the first that does not on, all are put in anew."""
        rest = iter(before)
        stay: list[Any] = []
        for key in after:
            if key not in before or not any(known is key or known == key for known in rest):
                break
            stay.append(key)
        for key in before:
            if key not in stay:
                yield Write(WriteKind.REMOVE, (*place, key))
        for key, new in after.items():
            if key not in stay or not self._stays((*place, key), before[key], new):
                if not isinstance(key, (str, int, float, bool, type(None))):
                    raise self._refused(f"a key {key!r} is written into a dict of the caller's")
                yield Write(WriteKind.SET, (*place, key), self._operand(new))

    def _stays(self, place: Place, old: Any, new: Any) -> bool:
        """Whether what is at a place is what was given there."""
        known = self._received.get(place)
        if isinstance(known, Scalar):
            return isinstance(new, Scalar) and new.vid == known.vid
        if known is not None:
            return new is known
        if isinstance(old, tuple):
            pairs = enumerate(zip(old, new, strict=True)) if type(new) is type(old) and len(new) == len(old) else None
            return pairs is not None and all(self._stays((*place, index), *pair) for index, pair in pairs)
        return type(new) is type(old) and repr(new) == repr(old)

    def _operand(self, value: Any) -> Any:
        self._check_new(value)
        return self._outputs.operand(value, "an argument of the call", self._loc)

    def _check_new(self, value: Any) -> None:
        """Refuse a container of the caller's in another place than its own: it would be a copy there."""
        if id(value) in self._homes:
            raise self._refused(f"a {type(value).__name__} of the caller's is put in another place of what it passed")
        if isinstance(value, (list, tuple)):
            for item in value:
                self._check_new(item)
        elif isinstance(value, dict):
            for item in value.values():
                self._check_new(item)

    def _refused(self, what: str) -> UnsupportedError:
        return UnsupportedError("DY212", self._loc, what, hint="put a copy there")
