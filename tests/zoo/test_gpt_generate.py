"""Greedy generation with a cache of keys and values: one loop, however long the text may become."""

import pytest
import torch

from dycl.ir.executor import Executor
from dycl.passes.specialize.specializer import specialize
from models_zoo import gpt_generate
from tests.zoo.compiled import Call, CompiledRow, Row


def blocks_and_loop(max_new_tokens):
    model = gpt_generate.build(max_new_tokens=max_new_tokens)
    made = specialize(model, gpt_generate.example_inputs())
    executor = Executor(made.program, made.environment)
    for seed in range(20):
        inputs = gpt_generate.sample_inputs(seed)
        with torch.no_grad():
            torch.testing.assert_close(executor.call(*inputs), model(*inputs))
    return len(made.program.blocks)


@pytest.mark.slow
def test_the_size_does_not_depend_on_the_steps():
    assert blocks_and_loop(16) == blocks_and_loop(48)


@pytest.mark.slow
class TestGptGenerate(CompiledRow):
    name = "gpt_generate"
    paths = 3

    def eager_path(self, row: Row, call: Call) -> object:
        """The text differs from call to call, the path is how long it is and whether it ended by itself."""
        return len(call.decided), call.decided[-1] == row.loaded.model.eos
