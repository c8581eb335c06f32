"""The repository's own source, as the packaging tests see it: through the real folders, never through the links."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def package_files(project: dict[str, Any]) -> dict[str, Path]:
    """Every file of the folders that are packages, by the path that it must have inside a wheel."""
    found: dict[str, Path] = {}
    for package, folder in project["tool"]["setuptools"]["package-dir"].items():
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT / folder)
            linked = any((ROOT / folder / parent).is_symlink() for parent in [inside, *inside.parents])
            if path.is_file() and not linked and "__pycache__" not in path.parts and path.suffix != ".pyc":
                found["/".join([*package.split("."), *inside.parts])] = path
    return found


@pytest.fixture(scope="session")
def modules(package_files: dict[str, Path]) -> dict[str, Path]:
    """Every module by its import name."""
    names = {name.removesuffix(".py").removesuffix("/__init__"): path for name, path in package_files.items()}
    return {name.replace("/", "."): path for name, path in names.items() if path.suffix == ".py"}
