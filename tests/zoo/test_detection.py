"""Two stages of boxes: how many there are, which overlap and which classes have any is decided at run time."""

from __future__ import annotations

import pytest

from tests.zoo.compiled import RowOfLines


@pytest.mark.slow
class TestDetection(RowOfLines):
    """Suppressing keeps at least one box, so that what would follow on none is never reached."""

    name = "detection"
    paths = 60
    options = ("--samples", "200")
