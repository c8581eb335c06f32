"""How much the heaviest kernel of a subgraph does: whether more than one thread could be of any use.

A pool of threads that does not spin has to be woken for each kernel. Measured with ONNX Runtime and two threads on a
server's processor: chains of convolutions and products take up to 1.6 times as long as with one where a kernel takes 50
microseconds or less, and 0.7 times where it takes 180.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_FLOATING = 80e3  # operations in a microsecond, of one thread
_BYTES = 12e3
# What reads some rows of a table, however large the table is.
_LOOK_UPS = frozenset({"embedding", "gather", "index", "index_select", "take"})


@dataclass(frozen=True, slots=True)
class Work:
    """What a subgraph does: the microseconds of its heaviest kernel on one thread, and the bytes of all it makes."""

    heaviest: float
    size: float

    def or_more(self, other: Work) -> Work:
        """The larger of both, in each."""
        return Work(max(self.heaviest, other.heaviest), max(self.size, other.size))


UNKNOWN_WORK = Work(math.inf, math.inf)


def find_work(run: Callable[..., object], inputs: Sequence[torch.Tensor]) -> Work:
    """What a function of tensors does, estimated; without an end where it cannot be told."""
    watch = Watch()
    try:
        with torch.no_grad(), watch:
            run(*inputs)
    except Exception:  # whatever torch does not accept of these inputs
        return UNKNOWN_WORK
    return watch.work


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each kernel that torch runs: the heaviest one's microseconds, and the bytes of all that they make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work = Work(0.0, 0)

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        count = flop_registry.get(func._overloadpacket)
        if count is None:
            with self:
                parts = func.decompose(*args, **given)
            if parts is not NotImplemented:
                return parts
        made = func(*args, **given)
        if not func.is_view:
            read = made if func._overloadpacket.__name__ in _LOOK_UPS else (args, given)
            floating = count(*args, **given, out_val=made) if count is not None else 0
            heaviest = max(self.work.heaviest, floating / _FLOATING, _bytes((read, made)) / _BYTES)
            self.work = Work(heaviest, self.work.size + _bytes(made))
        return made


def _bytes(values: object) -> int:
    return sum(leaf.nbytes for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor))
