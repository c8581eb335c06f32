"""RANet compiled: exits inside of sub-networks that take in one another's features."""

import pytest

from tests.zoo.compiled import Call, CompiledRow, Row


@pytest.mark.slow
class TestRanet(CompiledRow):
    name = "ranet"
    paths = 4

    def eager_path(self, row: Row, call: Call) -> object:
        """The exit that was sure."""
        return call.value[1]
