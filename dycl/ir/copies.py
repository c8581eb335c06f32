"""Modules of ours that artifacts hold a copy of, and how the copies find each other."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType


def copied_text(module: ModuleType) -> str:
    """The text of a module as an artifact holds it: what it takes from other modules of ours lies beside it there."""
    text = Path(str(module.__file__)).read_text(encoding="utf-8")
    return re.sub(r"^from dycl\.(?:\w+\.)*(\w+) import ", r"from .\1 import ", text, flags=re.MULTILINE)
