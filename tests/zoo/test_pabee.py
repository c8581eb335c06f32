"""PABEE compiled: its counters live on the model, over all calls."""

import pytest

from tests.zoo.compiled import CompiledRow


@pytest.mark.slow
class TestPabee(CompiledRow):
    name = "pabee"
    paths = 5
    state = ("inference_instances_num", "inference_layers_num")
