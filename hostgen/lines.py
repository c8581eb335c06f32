"""Statements before they are put out: their text, their comments, and what stands under what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dycl.diagnostics import SourceRange
from dycl.hostgen.writer import PythonWriter

SOURCE_WIDTH = 80


@dataclass(slots=True)
class Line:
    """A simple statement."""

    text: str
    comment: str = ""


@dataclass(slots=True)
class Clause:
    """A keyword with a condition, and what stands under it; no condition: `else`, `while True`."""

    keyword: str
    condition: str
    negate: bool
    comment: str
    lines: Lines

    @property
    def header(self) -> str:
        """The first line."""
        if not self.condition:
            return f"{self.keyword}:"
        return f"{self.keyword} {'not ' if self.negate else ''}{self.condition}:"


@dataclass(slots=True)
class Compound:
    """An `if` with its `elif`s and `else`, or a `while`."""

    clauses: list[Clause]


Lines: TypeAlias = "list[Line | Compound]"


def write_lines(out: PythonWriter, lines: Lines) -> None:
    """Put the lines out; they are nested no deeper than Python allows."""
    for line in lines:
        if isinstance(line, Line):
            out.line(line.text, line.comment)
            continue
        for clause in line.clauses:
            with out.block(clause.header, clause.comment):
                write_lines(out, clause.lines)


# ---------------------------------------------------------------- comments


def location_comment(loc: SourceRange) -> str:
    """`model.py:52-57`, or nothing for an unknown place."""
    if not loc.line:
        return ""
    return f"{loc}-{loc.end_line}" if loc.end_line > loc.line else str(loc)


def source_text(loc: SourceRange) -> str:
    """The source line, cut; without its own comment, which might mean something to a tool that reads ours."""
    text = "".join(char if char.isprintable() else " " for char in loc.text.split("  #")[0].rstrip())
    return text if len(text) <= SOURCE_WIDTH else text[: SOURCE_WIDTH - 1] + "…"
