"""How torch runs a subgraph while it is traced, and so too where it is the reference of what was traced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch._decomp import global_decomposition_table

from dycl.ir.nodes import Subgraph
from dycl.targets.samples import has_run_time_sizes


@contextlib.contextmanager
def exporting(subgraph: Subgraph) -> Iterator[None]:
    """Sizes of 0 and 1 are not special, attention is made of ordinary operations, no run-time length is unrolled.

    Recurrent modules are traced for their shapes only, once when a program is captured and again when it is decomposed;
    torch's own rules loop over the steps and so fix their number, or ask whether there are any.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.fx.experimental._config.patch(backed_size_oblivious=True))  # type: ignore[attr-defined]
            if has_run_time_sizes(subgraph):
                stack.enter_context(_recurrent_shapes())
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def _recurrent_shapes() -> Iterator[None]:
    """Recurrences keep a run-time length. An operator remembers the kernel of an earlier trace, so that is dropped."""
    with contextlib.ExitStack() as stack:
        for operator, rule in _SHAPES.items():
            kernels: tuple[Any, Any] = operator.py_kernels, torch._C.DispatchKey.CompositeImplicitAutograd
            for table, key in (kernels, (global_decomposition_table["post_autograd"], operator)):
                stack.enter_context(_replaced(table, key, rule(table.get(key) or operator)))
            stack.callback(operator._dispatch_cache.clear)
            operator._dispatch_cache.clear()
        yield


@contextlib.contextmanager
def _replaced(table: dict[Any, Any], key: Any, value: Any) -> Iterator[None]:
    """Another entry of a table for a while, if it had one."""
    is_there, before = key in table, table.get(key)
    table[key] = value
    try:
        yield
    finally:
        if is_there:
            table[key] = before
        else:
            del table[key]


def _lstm(known: Any) -> Any:
    """The rule in the place of torch's own, which is for a known number of steps."""

    def shapes(steps: torch.Tensor, state: tuple[torch.Tensor, ...], *rest: Any) -> Any:
        if not _is_open(steps):
            return known(steps, state, *rest)
        return _outputs(steps, state[0], *rest), *[torch.empty_like(one) for one in state]

    return shapes


def _without_cell(known: Any) -> Any:
    """The same for a state of one tensor."""

    def shapes(steps: torch.Tensor, state: torch.Tensor, *rest: Any) -> Any:
        if not _is_open(steps):
            return known(steps, state, *rest)
        return _outputs(steps, state, *rest), torch.empty_like(state)

    return shapes


def _is_open(steps: torch.Tensor) -> bool:
    return any(isinstance(size, torch.SymInt) for size in steps.shape)


def _outputs(
    steps: torch.Tensor,
    state: torch.Tensor,
    weights: Any,
    has_biases: bool,
    layers: int,
    dropout: float,
    is_training: bool,
    is_bidirectional: bool,
    is_batch_first: bool,
) -> torch.Tensor:
    return steps.new_empty([*steps.shape[:2], state.shape[2] * (2 if is_bidirectional else 1)])


_SHAPES: dict[Any, Any] = {torch.ops.aten.lstm.input: _lstm} | dict.fromkeys(
    (torch.ops.aten.gru.input, torch.ops.aten.rnn_tanh.input, torch.ops.aten.rnn_relu.input), _without_cell
)
