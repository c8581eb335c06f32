"""What torch makes of operations on fake tensors, remembered: the same operation is executed once.

Fake execution tells types, sizes and layouts; it is most of the specializer's time, and a network of equal layers, both
sides of a branch and every attempt ask for the same. A result is remembered under all that it can depend on: what is
called (of a module: its structure), the types, sizes, layouts and identities of the tensors, the other arguments, and
torch's modes. Where sizes are run-time numbers it can also depend on facts: every question that torch asked is kept
with its answer, and the result serves a path on which all answers are the same.

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

from dycl.passes.structure import module_key, module_slots

if TYPE_CHECKING:
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
class _Entry:
    asked: tuple[Asked, ...]
    results: tuple[_Tensor, ...]
    container: type | None  # of several results
    wrote: bool  # into memory of its own


@dataclass(frozen=True, slots=True)
class Remembered:
    """A result made again; `wrote`: the operation writes into memory of its own."""

    out: Any
    wrote: bool


class Results:
    """The remembered results of one compile, over all its attempts; `made` counts those that served again."""

    def __init__(self) -> None:
        self._entries: dict[Any, list[_Entry]] = {}
        self._modules: dict[int, tuple[Any, frozenset[int], torch.nn.Module]] = {}
        self.made = 0

    def key(self, machine: Natives, target: Any, function: Any, args: Any, kwargs: Any) -> Any:
        """All that the call's result can depend on but facts; None where that cannot be told."""
        try:
            called = self._module(machine, function) if isinstance(function, torch.nn.Module) else target
            described = _Describer().describe((args, kwargs))
        except _Undescribed:
            return None
        modes = (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_default_dtype(),
        )
        return (called, described, modes)

    def find(self, machine: Natives, key: Any, args: Any, kwargs: Any) -> Remembered | None:
        """The result of an equal call, made of new tensors, if the facts answer what it asked; else None."""
        for entry in self._entries.get(key, ()):
            if all(machine.decide_expr(expr) == answer for expr, answer in entry.asked):
                self.made += 1
                given = list(_tensors((args, kwargs))) if any(t.argument is not None for t in entry.results) else []
                made = [_make(machine, tensor, given) for tensor in entry.results]
                return Remembered(made[0] if entry.container is None else entry.container(made), entry.wrote)
        return None

    def keep(
        self, key: Any, args: Any, kwargs: Any, out: Any, asked: Sequence[Asked | None], written: Iterable[int]
    ) -> None:
        """Remember a result, if it can be made again and nothing had to be asked at run time.

        `written`: memory that the operation has written into.
        """
        answered = tuple([question for question in asked if question is not None])
        results = [out] if isinstance(out, torch.Tensor) else out
        is_sequence = type(out) in (tuple, list) or type(out).__module__ == "torch.return_types"
        if len(answered) != len(asked) or len(asked) > _MAX_ASKED:
            return
        if not (is_sequence or isinstance(out, torch.Tensor)) or not results:
            return
        given = list(_tensors((args, kwargs)))
        memories = {tensor.untyped_storage()._cdata: index for index, tensor in reversed(list(enumerate(given)))}
        if not memories.keys().isdisjoint(written):
            return
        described: list[_Tensor] = []
        fresh: set[int] = set()
        for tensor in results:
            if not _is_plain(tensor) or any(tensor is argument for argument in given):
                return
            memory = tensor.untyped_storage()._cdata
            argument = memories.get(memory)
            if argument is None and (memory in fresh or not _fills_memory(tensor)):
                return
            if argument is not None and type(given[argument]) is not FakeTensor:
                return
            fresh.add(memory)
            described.append(_describe(tensor, argument))
        container = None if isinstance(out, torch.Tensor) else type(out)
        self._entries.setdefault(key, []).append(_Entry(answered, tuple(described), container, bool(list(written))))

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
    """Describes arguments; tensors and their memories are numbered as they come."""

    def __init__(self) -> None:
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
            return (kind, value.node.expr)
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
            _numbers(tensor.shape),
            _numbers(tensor.stride()),
            _numbers((tensor.storage_offset(),)),
            tensor.device,
            tensor.requires_grad,
            tensor.is_inference(),
        )


def _numbers(sizes: Iterable[Any]) -> tuple[Any, ...]:
    return tuple([size if type(size) is int else size.node.expr for size in sizes])


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def _describe(tensor: torch.Tensor, argument: int | None) -> _Tensor:
    (offset,) = _numbers((tensor.storage_offset(),))
    return _Tensor(_numbers(tensor.shape), _numbers(tensor.stride()), tensor.dtype, tensor.device, offset, argument)


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
        return tensor._base is None
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return bool(length == (0 if 0 in tensor.shape else (last + 1) * tensor.element_size()))


def _make(machine: Natives, tensor: _Tensor, given: list[torch.Tensor]) -> FakeTensor:
    shape = [machine.sym_size(size) for size in tensor.shape]
    strides = [machine.sym_size(step) for step in tensor.strides]
    viewed = None if tensor.argument is None else (given[tensor.argument], machine.sym_size(tensor.offset))
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
