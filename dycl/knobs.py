"""Every environment variable dycl reads: declared, typed and described here; nothing else reads `os.environ`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dycl.diagnostics import UNKNOWN, UsageError


@dataclass(frozen=True, slots=True)
class Knob:
    """One environment variable: its name and what it does."""

    name: str
    effect: str


DUMP = Knob("DYCL_DUMP", "a directory: each stage writes NN-stage.txt there, with a diff from the stage before")
WITHOUT = Knob("DYCL_WITHOUT", "passes, with commas: they are left out, to find out what one of them does")
KILL_AT = Knob("DYCL_KILL_AT", "a stage: the process ends at once when that stage starts, as if killed (for tests)")

CACHE_DIR = Knob("DYCL_CACHE_DIR", "a directory: what compiles have made is kept there instead of in ~/.cache/dycl")
CACHE_SIZE = Knob("DYCL_CACHE_SIZE", "how many MiB the cache may take, 256 if unset; 0: nothing is kept")
CACHE_HOME = Knob("XDG_CACHE_HOME", "a directory: where the system keeps caches, if not in ~/.cache")

KNOBS = (DUMP, WITHOUT, KILL_AT, CACHE_DIR, CACHE_SIZE, CACHE_HOME)

_CACHE_MIB = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """The values of all knobs."""

    dump: Path | None = None
    without: frozenset[str] = frozenset()
    kill_at: str = ""
    cache_dir: Path | None = None
    cache_size: int = _CACHE_MIB << 20  # bytes


def read_knobs(environ: Mapping[str, str] = os.environ) -> Knobs:
    """The knobs as the environment sets them; an empty variable counts as unset."""
    dump = environ.get(DUMP.name, "")
    return Knobs(
        dump=Path(dump) if dump else None,
        without=frozenset(name for name in environ.get(WITHOUT.name, "").split(",") if name),
        kill_at=environ.get(KILL_AT.name, ""),
        cache_dir=_cache_dir(environ),
        cache_size=_cache_size(environ),
    )


def _cache_dir(environ: Mapping[str, str]) -> Path | None:
    """Where the cache is; None where there is no home to put it in."""
    chosen, home = environ.get(CACHE_DIR.name, ""), environ.get(CACHE_HOME.name, "")
    if chosen:
        return Path(chosen)
    try:
        return (Path(home) if home else Path.home() / ".cache") / "dycl"
    except RuntimeError:
        return None


def _cache_size(environ: Mapping[str, str]) -> int:
    text = environ.get(CACHE_SIZE.name, "")
    if text and not text.isdecimal():
        raise UsageError("DY505", UNKNOWN, f"{CACHE_SIZE.name}: {text!r} is no number of MiB")
    return (int(text) if text else _CACHE_MIB) << 20
