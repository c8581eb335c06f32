"""Two stages of boxes: how many there are, which overlap and which classes have any is decided at run time."""

from __future__ import annotations

import pytest

from tests.zoo.compiled import RowOfLines


@pytest.mark.slow
class TestDetection(RowOfLines):
    """An edge that no sampled input takes, nor a forced run: four detections, all of the last class."""

    name = "detection"
    paths = 60
    unreachable = 1
    options = ("--samples", "200")
