"""Depth and width decided at run time, over two sets of points of any size."""

from __future__ import annotations

import pytest

from tests.zoo.compiled import Call, CompiledRow, Row


@pytest.mark.slow
class TestLightGlue(CompiledRow):
    """Images of which no keypoint is left are rare: 200 inputs take every edge, 20 do not."""

    name = "lightglue_like"
    paths = 12
    options = ("--samples", "200")

    def eager_path(self, row: Row, call: Call) -> object:
        """What was read, and which image no keypoint is left of: asked of sizes, in this order."""
        value = call.value
        is_empty = [bool((value[name] != value["stop"]).all()) for name in ("prune0", "prune1")]
        return call.decided, is_empty[0], is_empty[1] and not is_empty[0]
