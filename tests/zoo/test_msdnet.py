"""MSDNet compiled: exits from nested loops over lists of features at several scales."""

import pytest

from tests.zoo.compiled import Call, CompiledRow, Row


@pytest.mark.slow
class TestMsdnet(CompiledRow):
    name = "msdnet"
    paths = 4

    def eager_path(self, row: Row, call: Call) -> object:
        """The exits asked before the one that was sure; the source reads their confidences, not decisions."""
        return call.value["exit"]
