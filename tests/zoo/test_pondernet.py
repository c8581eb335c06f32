"""PonderNet compiled: the host draws what eager draws after the same seed."""

from tests.zoo.compiled import CompiledRow


class TestPonderNet(CompiledRow):
    name = "pondernet"
    paths = 5
    options = ("--rng", "host")
