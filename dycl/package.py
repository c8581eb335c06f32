"""The two files that make an artifact a Python package: `__init__.py` and `pyproject.toml`."""

from __future__ import annotations

import keyword
import re

from jinja2 import Environment, StrictUndefined

_TEMPLATES = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)

_INIT = _TEMPLATES.from_string('''\
"""{{ class_name }}, compiled by dycl {{ version }}. Generated: compile again instead of editing."""

import hashlib
import json
from pathlib import Path

from .host import {{ class_name }}

__all__ = ["ArtifactError", "{{ class_name }}", "load"]


class ArtifactError(RuntimeError):
    """A file of this package is missing or has changed since the model was compiled."""


def load(*, threads: int | None = None, lazy: bool = False) -> {{ class_name }}:
    """A ready model, after every file has been compared with its hash in the manifest.

    `lazy`: a subgraph is opened when a call first comes to it; a side that is never taken costs nothing.
    """
    _verify_files(Path(__file__).parent)
    return {{ class_name }}(threads=threads, lazy=lazy)


def _verify_files(directory: Path) -> None:
    try:
        files = json.loads((directory / "manifest.json").read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{directory}: manifest.json cannot be read; compile the model again") from error
    for name, digest in files.items():
        try:
            with (directory / name).open("rb") as stream:
                actual = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise ArtifactError(f"{directory}: {name} is missing; compile the model again") from error
        if actual != digest:
            raise ArtifactError(f"{directory}: {name} has changed; compile the model again")
''')

_PYPROJECT = _TEMPLATES.from_string("""\
[build-system]
requires = ["setuptools>=69"]
build-backend = "setuptools.build_meta"

[project]
name = "{{ package.replace('_', '-') }}"
version = "0.1.0"
description = "{{ class_name }}, compiled by dycl {{ version }}"
requires-python = ">=3.11"
dependencies = [
{%- for requirement in requirements %}
    "{{ requirement }}",
{%- endfor %}
]

[tool.setuptools]
packages = ["{{ package }}"]
package-dir = { "{{ package }}" = "." }

[tool.setuptools.package-data]
"{{ package }}" = ["*.toml", "*.json", "*.bin", "*.zip", "subgraphs/*", "lib/*"]
""")


def find_package_name(name: str) -> str:
    """The package's name for a model: `ShallowDeep` gives `shallow_deep`; always an identifier."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    snake = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_") or "model"
    return f"model_{snake}" if snake[0].isdigit() or keyword.iskeyword(snake) else snake


def write_init(class_name: str, version: str) -> str:
    """The artifact's `__init__.py`: the model's class and `load()`, which verifies the hashes without dycl."""
    return _INIT.render(class_name=class_name, version=version)


def write_pyproject(package: str, class_name: str, version: str, requirements: tuple[str, ...]) -> str:
    """The artifact's `pyproject.toml`: `pip install ./DIR` installs the package and what its runtime needs."""
    return _PYPROJECT.render(package=package, class_name=class_name, version=version, requirements=requirements)
