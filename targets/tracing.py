"""How torch runs a subgraph while it is traced, and so too where it is the reference of what was traced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch.export._patches import register_gru_while_loop_decomposition, register_lstm_while_loop_decomposition

from dycl.ir.nodes import Subgraph
from dycl.targets.samples import symbols


@contextlib.contextmanager
def exporting(subgraph: Subgraph) -> Iterator[None]:
    """Sizes of 0 and 1 are not special, attention is made of ordinary operations, no run-time length is unrolled.

    The decompositions of LSTM and GRU are traced for their shapes only, once when a program is captured and again when
    it is decomposed; torch's usual ones loop over the steps and so fix their number. (The others are slower to trace.)
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.fx.experimental._config.patch(backed_size_oblivious=True))  # type: ignore[attr-defined]
            if symbols(subgraph):
                stack.enter_context(_recurrent_shapes())
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def _recurrent_shapes() -> Iterator[None]:
    """LSTM and GRU keep a run-time length. An operator remembers the kernel of an earlier trace, so that is dropped."""
    operators = (torch.ops.aten.lstm.input, torch.ops.aten.gru.input)
    try:
        with register_lstm_while_loop_decomposition(), register_gru_while_loop_decomposition():
            for operator in operators:
                operator._dispatch_cache.clear()
            yield
    finally:
        for operator in operators:
            operator._dispatch_cache.clear()
