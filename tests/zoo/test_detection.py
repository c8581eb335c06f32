"""Two stages of boxes: how many there are, which overlap and which classes have any is decided at run time."""

from __future__ import annotations

import pytest

from tests.zoo.compiled import RowOfLines


@pytest.mark.slow
class TestDetection(RowOfLines):
    """Edges that no input takes: five boxes kept of one, or none of several, which the compiler does not rule out."""

    name = "detection"
    paths = 60
    unreachable = 5
    options = ("--samples", "200")
