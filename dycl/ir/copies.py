"""Modules of ours that artifacts hold a copy of, and how the copies find each other."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path


def copied_text(name: str) -> str:
    """The text of a module as an artifact holds it: what it takes from other modules of ours lies beside it there."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    text = Path(str(spec.origin)).read_text(encoding="utf-8")
    return re.sub(r"^from dycl\.(?:\w+\.)*(\w+) import ", r"from .\1 import ", text, flags=re.MULTILINE)


def copied_files(*names: str) -> dict[str, bytes]:
    """Modules as files of an artifact, each under the last part of its name."""
    return {f"{name.rpartition('.')[2]}.py": copied_text(name).encode() for name in names}
