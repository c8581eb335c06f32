"""PonderNet compiled: the host draws what eager draws after the same seed."""

import pytest

from tests.zoo.compiled import CompiledRow


@pytest.mark.slow
class TestPonderNet(CompiledRow):
    name = "pondernet"
    paths = 5
    options = ("--rng", "host")
