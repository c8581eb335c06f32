"""Three stages over an image pyramid: crops of whatever size, boxes in numpy, and nothing left after any stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_zoo import cascade_mtcnn
from tests.wild.differences import find_differences


@pytest.mark.slow
def test_host_agrees_with_eager(tmp_path: Path) -> None:
    """The samples take four paths; edges that none of them takes are not exercised yet."""
    model, inputs = cascade_mtcnn.build(), cascade_mtcnn.sample_inputs
    differences, _ = find_differences(model, inputs, tmp_path / "artifact", calls=60, paths=4)
    assert differences == []
