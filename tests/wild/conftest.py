"""Models of other packages, compiled unchanged: `compare` runs a compiled model against its source.

Everything here is marked `wild`: `make test` leaves it out, `make test-wild` runs it. A test skips itself where its
package is missing: `transformers = pytest.importorskip("transformers")`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.wild.differences import find_differences

try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError):  # one that was built for another torch: nobody is to find it
    sys.modules["torchvision"] = None  # type: ignore[assignment]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.wild)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Any:
    """The networks are small: threads that wait for each other cost more than they save."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., list[tuple[tuple[int, bool], ...]]]:
    """`compare(model, inputs_for_seed, calls=20, paths=2, ...)`: see `find_differences`."""

    def run(model: nn.Module, inputs_for_seed: Callable[[int], Any], **options: Any) -> list[Any]:
        differences, taken = find_differences(model, inputs_for_seed, tmp_path / "artifact", **options)
        assert differences == []
        return taken

    return run
