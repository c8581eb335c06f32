"""The tokens of the text form of programs: what the printer writes bare, and how the parser cuts a text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dycl.diagnostics import InternalError

_NAME = r"[^\W\d]\w*(?:\.\w+)*"
_TOKEN = re.compile(
    rf"""
      (?P<space>[ \t\r]+|//[^\n]*)
    | (?P<newline>\n)
    | (?P<loc>@f\d+:\d+:\d+-\d+:\d+)
    | (?P<value>%\d+)
    | (?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    | (?P<number>-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|-inf\b)
    | (?P<name>{_NAME})
    | (?P<sign>\.\.\.|->|[()\[\]{{}}:,=?$])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind (a group of the pattern, or `end`), its text and where it starts (both from 1)."""

    kind: str
    text: str
    line: int
    column: int


def is_bare(name: str) -> bool:
    """Can the name stand in a text without quotes?"""
    return re.fullmatch(_NAME, name) is not None


def tokenize(text: str) -> list[Token]:
    """The tokens of a text, without spaces and comments, the last of kind `end`."""
    tokens: list[Token] = []
    position, line, line_start = 0, 1, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        column = position - line_start + 1
        if match is None:
            raise InternalError(f"IR text, line {line}, column {column}: unexpected {text[position]!r}")
        kind = match.lastgroup or ""
        if kind != "space":
            tokens.append(Token(kind, match.group(), line, column))
        position = match.end()
        if kind == "newline":
            line, line_start = line + 1, position
    tokens.append(Token("end", "", line, position - line_start + 1))
    return tokens
