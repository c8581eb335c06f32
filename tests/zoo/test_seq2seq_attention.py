"""Greedy and beam search: hypotheses of any number and length are kept in the host."""

import sys

import pytest
import torch

from dycl.ir.executor import Executor
from dycl.passes.specialize.specializer import specialize
from models_zoo import seq2seq_attention
from tests.zoo.compiled import CompiledRow, Row


@pytest.mark.slow
def test_both_searches_agree_with_eager():
    model = seq2seq_attention.build()
    made = specialize(model, seq2seq_attention.example_inputs())
    executor = Executor(made.program, made.environment)
    for seed in range(25):
        inputs = seq2seq_attention.sample_inputs(seed)
        with torch.no_grad():
            torch.testing.assert_close(executor.call(*inputs), model(*inputs))


def executed_lines(model, inputs):
    """The lines of the model's own file that a call runs, in order."""
    lines = []

    def trace(frame, event, _):
        if not frame.f_code.co_filename.endswith("seq2seq_attention.py"):
            return None
        if event == "line":
            lines.append(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        sys.settrace(before)
    return tuple(lines)


@pytest.mark.slow
class TestSeq2Seq(CompiledRow):
    name = "seq2seq_attention"
    paths = 10

    def test_paths_are_those_of_eager(self, row: Row) -> None:
        """A path of the host is one path through the source's lines.

        Not the other way round: which hypothesis is the best is a decision of the host, and no line of the source.
        """
        model = row.loaded.model
        pairs = {(executed_lines(model, x), call.decided) for x, call in zip(row.inputs, row.host, strict=True)}
        assert len(pairs) == len({decided for _, decided in pairs})
        assert len({lines for lines, _ in pairs}) >= self.paths
