"""SkipNet with the recurrent gate compiled: the gate's LSTM goes from block to block, and stays on its module."""

import pytest

from tests.zoo.compiled import CompiledRow


@pytest.mark.slow
class TestSkipNetRnn(CompiledRow):
    name = "skipnet_rnn"
    paths = 8
    state = ("control.hidden",)
