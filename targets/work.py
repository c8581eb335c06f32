"""How much the heaviest kernel of a subgraph does: whether more than one thread could be of any use.

A pool of threads that does not spin has to be woken for each kernel. Measured with ONNX Runtime and two threads on a
server's processor: chains of convolutions and products take up to 1.6 times as long as with one where a kernel takes 50
microseconds or less, and 0.7 times where it takes 180.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_FLOATING = 80e3  # operations in a microsecond, of one thread
_BYTES = 12e3
# What reads some rows of a table, however large the table is.
_LOOK_UPS = frozenset({"embedding", "gather", "index", "index_select", "take"})


def heaviest_kernel(run: Callable[..., object], inputs: Sequence[torch.Tensor]) -> float:
    """The microseconds of the heaviest kernel on one thread, estimated; infinity where it cannot be told."""
    watch = _Watch()
    try:
        with torch.no_grad(), watch:
            run(*inputs)
    except Exception:  # whatever torch does not accept of these inputs
        return math.inf
    return watch.heaviest


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each kernel that torch runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.heaviest = 0.0

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
            size = sum(leaf.nbytes for leaf in tree_leaves((read, made)) if isinstance(leaf, torch.Tensor))
            floating = count(*args, **given, out_val=made) if count is not None else 0
            self.heaviest = max(self.heaviest, floating / _FLOATING, size / _BYTES)
        return made
