"""What a pass has decided, for people: `dycl explain` shows it."""

from __future__ import annotations

from dataclasses import dataclass

from dycl.diagnostics import SourceRange


@dataclass(frozen=True, slots=True)
class Note:
    """One decision of a pass: what it is about, whether something was done, and why or why not."""

    step: str
    done: bool
    loc: SourceRange
    text: str
