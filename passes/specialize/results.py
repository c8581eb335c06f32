"""What torch makes of operations on fake tensors, remembered: the same operation is executed once.

Fake execution tells types, sizes and layouts; it is most of the specializer's time, and a network of equal layers, both
sides of a branch and every attempt ask for the same. A result is remembered under all that it can depend on: what is
called (of a module: its structure), the types, sizes, layouts and identities of the tensors, the other arguments, and
torch's modes. Where sizes are run-time numbers it can also depend on facts: every question that torch asked is kept
with its answer, and the result serves a path on which all answers are the same. What was tried with several answers
(`worlds.py`) is kept with all that was known of its sizes, and serves a path that knows as much. Which symbols stand
for the sizes makes no difference: they are numbered as the call meets them (`renaming.py`).

New tensors and views of arguments are remembered: what writes into them, draws random numbers or makes a size is
executed each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor, in_kernel_invocation_manager

from dycl.passes.analysis.structure import module_key, module_slots
from dycl.passes.specialize.memory_order import dense_order, expression
from dycl.passes.specialize.renaming import Renaming

if TYPE_CHECKING:
    from dycl.passes.specialize.facts import Facts
    from dycl.passes.specialize.intervals import Interval
    from dycl.passes.specialize.natives import Natives

Asked = tuple[sympy.Basic, sympy.Basic | None]  # a question, and what the facts of the path said to it

_HASHABLE = (int, bool, str, type(None), type(...), torch.dtype, torch.device, torch.layout, torch.memory_format)
_SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)
_MAX_ASKED = 64  # to ask all of that again takes as long as the operation


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A new tensor that fills its memory, or a view of the memory of an argument."""

    shape: tuple[Any, ...]
    strides: tuple[Any, ...]
    dtype: torch.dtype
    device: torch.device
    offset: Any = 0
    argument: int | None = None  # the number of the tensor that is viewed


@dataclass(frozen=True, slots=True)
class _Made:
    """What an operation returned."""

    results: tuple[_Tensor, ...]
    container: type | None  # of several results
    wrote: bool  # into memory of its own


@dataclass(frozen=True, slots=True)
class _Shared:
    """What was tried with several answers: results, and arguments, whose memory is one for some sizes alone."""

    made: _Made
    results: tuple[int, ...]
    arguments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Remembered:
    """A result made again; `wrote`: the operation writes into memory of its own."""

    out: Any
    wrote: bool


@dataclass(frozen=True, slots=True)
class _Known:
    """What a path knows of the sizes of a call, in numbered symbols."""

    relations: frozenset[tuple[sympy.Basic, bool]]
    intervals: frozenset[tuple[sympy.Symbol, Interval]]


@dataclass(frozen=True, slots=True)
class Call:
    """A call on fake tensors. `key`: all that its result can depend on but facts, in which symbols are numbered."""

    key: Any
    names: Renaming
    args: Any
    kwargs: Any

    def tensors(self) -> list[torch.Tensor]:
        """The tensors among the arguments."""
        return list(_tensors((self.args, self.kwargs)))

    def known(self, facts: Facts) -> _Known | None:
        """All that a path knows of the call's sizes; None on a path that cannot be."""
        symbols, names = self.names.symbols, self.names.copy()
        if any(low > high for low, high in facts.intervals.values()):
            return None
        relations = frozenset(
            (names.canonical(expr), outcome)
            for expr, outcome in facts.relations.items()
            if not symbols.isdisjoint(expr.free_symbols)
        )
        intervals = frozenset((names.canonical(symbol), facts.interval(symbol)) for symbol in names.symbols)
        return _Known(relations, intervals)

    def is_known(self, known: _Known, facts: Facts) -> bool:
        """Whether a path knows at least that."""
        if not all(self.names.has(symbol) for symbol, _ in known.intervals):
            return False
        for symbol, (low, high) in known.intervals:
            own_low, own_high = facts.interval(self.names.own(symbol))
            if own_low < low or own_high > high:
                return False
        return all(facts.decide(self.names.own(expr)) == outcome for expr, outcome in known.relations)


class Results:
    """The remembered results of one compile, over all its attempts; `made` counts those that served again."""

    def __init__(self) -> None:
        self._entries: dict[Any, list[tuple[tuple[Asked, ...], _Made]]] = {}
        self._tried: dict[Any, list[tuple[_Known, _Shared]]] = {}
        self._questions: dict[Any, sympy.Basic] = {}
        self._modules: dict[int, tuple[Any, frozenset[int], torch.nn.Module]] = {}
        self.made = 0

    def call(self, machine: Natives, target: Any, function: Any, args: Any, kwargs: Any) -> Call | None:
        """The call, described; None where what its result can depend on cannot be told."""
        names = Renaming()
        try:
            called = self._module(machine, function) if isinstance(function, torch.nn.Module) else target
            described = _Describer(names).describe((args, kwargs))
        except _Undescribed:
            return None
        modes = (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_default_dtype(),
        )
        return Call((called, described, modes, machine.hints.exact_memory), names, args, kwargs)

    def find(self, machine: Natives, call: Call) -> Remembered | None:
        """The result of an equal call, made of new tensors, if the facts answer what it asked; else None."""
        for asked, made in self._entries.get(call.key, ()):
            if all(machine.decide_expr(call.names.own(expr)) == answer for expr, answer in asked):
                return self._make(machine, call, made)
        return None

    def keep(self, call: Call, out: Any, asked: Sequence[Asked | None], written: Iterable[int]) -> None:
        """Remember a result, if it can be made again and nothing had to be asked at run time.

        `written`: memory that the operation has written into.
        """
        answered = tuple([question for question in asked if question is not None])
        if len(answered) != len(asked) or len(asked) > _MAX_ASKED:
            return
        if not all(expr.free_symbols <= call.names.symbols for expr, _ in answered):
            return
        made = _described(call, out, written)
        if made is not None:
            canonical = tuple([(call.names.canonical(expr), answer) for expr, answer in answered])
            self._entries.setdefault(call.key, []).append((canonical, made))

    # ------------------------------------------------------------ what was tried with several answers

    def find_tried(self, machine: Natives, call: Call) -> Remembered | None:
        """What all trials of an equal call came to, if no more was known then than now: what holds there holds here."""
        for known, shared in self._tried.get(call.key, ()):
            if call.is_known(known, machine.state.facts):
                remembered = self._make(machine, call, shared.made)
                leaves, given = list(_tensors(remembered.out)), call.tensors()
                memories = [leaves[index] for index in shared.results] + [given[index] for index in shared.arguments]
                machine.shared_at_times |= {machine.memory_of(tensor) for tensor in memories}
                return remembered
        return None

    def find_question(self, machine: Natives, call: Call) -> sympy.Basic | None:
        """What had to be asked about an equal call where the same was known."""
        known = call.known(machine.state.facts)
        found = self._questions.get((call.key, known)) if known is not None else None
        return None if found is None else call.names.own(found)

    def keep_tried(self, machine: Natives, call: Call, out: Any, written: Iterable[int], shared: set[int]) -> None:
        """Remember what the trials of a call came to; `shared`: memory that is one at times."""
        known, made = call.known(machine.state.facts), _described(call, out, written)
        if known is not None and made is not None:
            places = [
                tuple([index for index, tensor in enumerate(tensors) if tensor.untyped_storage()._cdata in shared])
                for tensors in (_tensors(out), call.tensors())
            ]
            self._tried.setdefault(call.key, []).append((known, _Shared(made, *places)))

    def keep_question(self, machine: Natives, call: Call, question: sympy.Basic) -> None:
        """Remember what has to be asked about a call."""
        known = call.known(machine.state.facts)
        if known is not None and question.free_symbols <= call.names.symbols:
            self._questions[call.key, known] = call.names.canonical(question)

    def _make(self, machine: Natives, call: Call, made: _Made) -> Remembered:
        self.made += 1
        given = call.tensors() if any(tensor.argument is not None for tensor in made.results) else []
        tensors = [_make(machine, tensor, call.names, given) for tensor in made.results]
        return Remembered(tensors[0] if made.container is None else made.container(tensors), made.wrote)

    def _module(self, machine: Natives, module: torch.nn.Module) -> Any:
        """The structure of a module that is as it was before the run."""
        if machine.hints.stateful or id(module) in machine.made_modules:
            raise _Undescribed
        known = self._modules.get(id(module))
        if known is None:
            parts = list(module.modules())
            holders = frozenset(
                id(part) for sub in parts for part in (sub, vars(sub), sub._parameters, sub._buffers, sub._modules)
            )
            slots = [slot.tensor for slot in module_slots("", module)]
            numbers = {id(tensor): index for index, tensor in reversed(list(enumerate(slots)))}
            layouts = tuple((tensor.stride(), tensor.requires_grad, numbers[id(tensor)]) for tensor in slots)
            known = self._modules[id(module)] = ((module_key(module), layouts), holders, module)
        structure, holders, _ = known
        if any(id(entry.target) in holders for entry in machine.state.journal.values()):
            raise _Undescribed
        return structure


class _Undescribed(Exception):  # noqa: N818 (it is no error)
    """Something among the arguments that a key cannot tell from others."""


class _Describer:
    """Describes arguments; tensors, their memories and symbols are numbered as they come."""

    def __init__(self, names: Renaming) -> None:
        self._names = names
        self._tensors: dict[int, int] = {}
        self._memories: dict[int, int] = {}

    def describe(self, value: Any) -> Any:
        kind = type(value)
        if kind in _HASHABLE:
            return (kind, value)
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if kind in (tuple, list, torch.Size):
            return (kind, *[self.describe(item) for item in value])
        if kind is dict:
            return (dict, *[(self.describe(key), self.describe(item)) for key, item in value.items()])
        if kind is slice:
            return (slice, self.describe(value.start), self.describe(value.stop), self.describe(value.step))
        if kind in (float, complex):
            return (kind, repr(value))
        if kind in _SYMBOLIC:
            return (kind, self._names.canonical(value.node.expr))
        raise _Undescribed

    def _tensor(self, tensor: torch.Tensor) -> Any:
        is_fake = isinstance(tensor, FakeTensor)
        if isinstance(tensor, FakeTensor):
            if tensor.constant is not None:
                raise _Undescribed
        elif type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.numel() <= 1:
            raise _Undescribed  # torch may look at the number in a tensor of one
        if tensor.layout is not torch.strided or tensor.is_conj() or tensor.is_neg():
            raise _Undescribed
        return (
            is_fake,
            self._tensors.setdefault(id(tensor), len(self._tensors)),
            self._memories.setdefault(tensor.untyped_storage()._cdata, len(self._memories)),
            tensor.dtype,
            _numbers(tensor.shape, self._names),
            _numbers(tensor.stride(), self._names),
            _numbers((tensor.storage_offset(),), self._names),
            tensor.device,
            tensor.requires_grad,
            tensor.is_inference(),
        )


def _numbers(sizes: Iterable[Any], names: Renaming) -> tuple[Any, ...]:
    return tuple([size if type(size) is int else names.canonical(size.node.expr) for size in sizes])


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def _described(call: Call, out: Any, written: Iterable[int]) -> _Made | None:
    """How to make a result again; None if it cannot be."""
    results = [out] if isinstance(out, torch.Tensor) else out
    is_sequence = type(out) in (tuple, list) or type(out).__module__ == "torch.return_types"
    if not (is_sequence or isinstance(out, torch.Tensor)) or not results:
        return None
    given, names = call.tensors(), call.names
    memories = {tensor.untyped_storage()._cdata: index for index, tensor in reversed(list(enumerate(given)))}
    if not memories.keys().isdisjoint(written):
        return None
    described: list[_Tensor] = []
    fresh: set[int] = set()
    for tensor in results:
        if not _is_plain(tensor) or any(tensor is argument for argument in given):
            return None
        memory = tensor.untyped_storage()._cdata
        argument = memories.get(memory)
        if argument is None and (memory in fresh or not _fills_memory(tensor)):
            return None
        if argument is not None and type(given[argument]) is not FakeTensor:
            return None
        fresh.add(memory)
        known = len(names.symbols)
        shape, strides = _numbers(tensor.shape, names), _numbers(tensor.stride(), names)
        (offset,) = _numbers((tensor.storage_offset(),), names)
        if len(names.symbols) != known:
            return None  # a size that those of the arguments do not tell
        described.append(_Tensor(shape, strides, tensor.dtype, tensor.device, offset, argument))
    return _Made(tuple(described), None if isinstance(out, torch.Tensor) else type(out), bool(list(written)))


def _is_plain(tensor: Any) -> bool:
    """Whether nothing is known of a result but its type, its sizes and where it lies."""
    if type(tensor) is not FakeTensor or tensor.constant is not None or tensor.layout is not torch.strided:
        return False
    return not (tensor.requires_grad or tensor.is_conj() or tensor.is_neg() or tensor.is_inference())


def _fills_memory(tensor: torch.Tensor) -> bool:
    """Whether a new tensor is all that is in its memory."""
    offset, length = tensor.storage_offset(), tensor.untyped_storage().nbytes()
    if type(offset) is not int or offset:
        return False
    if any(type(number) is not int for number in (*tensor.shape, *tensor.stride(), length)):
        return tensor._base is None or (dense_order(tensor) is not None and _same_number(tensor, tensor._base))
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return bool(length == (0 if 0 in tensor.shape else (last + 1) * tensor.element_size()))


def _same_number(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors certainly have as many elements."""
    counts = [sympy.prod([expression(size) for size in tensor.shape]) for tensor in (one, other)]
    return bool(sympy.expand(counts[0] - counts[1]) == 0)


def _make(machine: Natives, tensor: _Tensor, names: Renaming, given: list[torch.Tensor]) -> FakeTensor:
    def own(number: Any) -> Any:
        return number if type(number) is int else machine.sym_size(names.own(number))

    shape, strides = [own(size) for size in tensor.shape], [own(step) for step in tensor.strides]
    viewed = None if tensor.argument is None else (given[tensor.argument], own(tensor.offset))
    return remembered_tensor(machine.fake, shape, strides, tensor, viewed)


def remembered_tensor(
    mode: Any, shape: list[Any], strides: list[Any], like: _Tensor, viewed: tuple[torch.Tensor, Any] | None
) -> FakeTensor:
    """A fake tensor of this shape; `shapes.py` knows this function: it allocates, and what C++ asks is layout."""
    memory = [] if viewed is None else [(viewed[0].untyped_storage(), viewed[1])]
    with in_kernel_invocation_manager(mode):
        made = torch.empty_strided(shape, strides, dtype=like.dtype, device="meta")
        for storage, offset in memory:
            made.set_(storage, offset, shape, strides)
    return FakeTensor(mode, made, like.device)
