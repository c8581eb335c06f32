"""Greedy and beam search: hypotheses of any number and length are kept in the host."""

import pytest
import torch

from dycl.ir.executor import Executor
from dycl.passes.specialize.specializer import specialize
from models_zoo import seq2seq_attention
from tests.zoo.compiled import RowOfLines


@pytest.mark.slow
def test_both_searches_agree_with_eager():
    model = seq2seq_attention.build()
    made = specialize(model, seq2seq_attention.example_inputs())
    executor = Executor(made.program, made.environment)
    for seed in range(25):
        inputs = seq2seq_attention.sample_inputs(seed)
        with torch.no_grad():
            torch.testing.assert_close(executor.call(*inputs), model(*inputs))


@pytest.mark.slow
class TestSeq2Seq(RowOfLines):
    """Which hypothesis is the best is a decision of the host, and no line of the source."""

    name = "seq2seq_attention"
    paths = 10
