"""Three stages over an image pyramid: crops of whatever size, boxes in numpy, and nothing left after any stage."""

from __future__ import annotations

import pytest

from tests.zoo.compiled import RowOfLines


@pytest.mark.slow
class TestCascade(RowOfLines):
    """An edge that no input takes: boxes stacked from none, which the compiler does not rule out."""

    name = "cascade_mtcnn"
    paths = 20
    unreachable = 1
    options = ("--samples", "200")
