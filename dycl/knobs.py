"""Every environment variable dycl reads: declared, typed and described here; nothing else reads `os.environ`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Knob:
    """One environment variable: its name and what it does."""

    name: str
    effect: str


DUMP = Knob("DYCL_DUMP", "a directory: each stage writes NN-stage.txt there, with a diff from the stage before")
KILL_AT = Knob("DYCL_KILL_AT", "a stage: the process ends at once when that stage starts, as if killed (for tests)")

KNOBS = (DUMP, KILL_AT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """The values of all knobs."""

    dump: Path | None = None
    kill_at: str = ""


def read_knobs(environ: Mapping[str, str] = os.environ) -> Knobs:
    """The knobs as the environment sets them; an empty variable counts as unset."""
    dump = environ.get(DUMP.name, "")
    return Knobs(dump=Path(dump) if dump else None, kill_at=environ.get(KILL_AT.name, ""))
