"""What the documentation refers to, importable by path."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"


def import_file(path: Path) -> ModuleType:
    """The module of a file."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def docs() -> Path:
    """The folder of the documentation."""
    return DOCS


@pytest.fixture(scope="session")
def load() -> Callable[[str], ModuleType]:
    """Imports a file under docs/, or beside the tests if it is not there."""

    def find(name: str) -> ModuleType:
        path = DOCS / name
        return import_file(path if path.is_file() else Path(__file__).parent / name)

    return find
