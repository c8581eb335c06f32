"""What dycl says when something is wrong: three kinds of error, never mixed.

`UnsupportedError` is about the user's program, `InternalError` about a bug of ours, `TargetError` about a
back end that refused. Every code has an entry in `docs/errors.md`; a test compares both lists.
"""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SourceRange:
    """A stretch of source: lines from 1, columns from 0, the end column exclusive."""

    file: str
    line: int
    column: int = 0
    end_line: int = 0
    end_column: int = 0
    function: str = ""

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}" if self.line else "<unknown>"

    @property
    def text(self) -> str:
        """The first line of the range, stripped; empty where the source cannot be read."""
        return linecache.getline(self.file, self.line).strip() if self.line else ""


UNKNOWN = SourceRange("", 0)

# The one list of codes. DY1xx: front end. DY2xx: specializer. DY3xx: passes. DY4xx: target, artifact. DY5xx: usage.
CODES: dict[str, str] = {
    "DY101": "source not found",
    "DY102": "statement or expression not supported by the front end",
    "DY103": "source file does not parse",
    "DY201": "operation without a fake implementation",
    "DY202": "random operation at inference",
    "DY203": "unknown native function is handed run-time values",
    "DY204": "a run-time number is needed at compile time",
    "DY205": "a mutable native object would be shared by both sides of a branch",
    "DY206": "write to an object outside the model",
    "DY207": "the program does not close: too many blocks",
    "DY208": "recursion too deep",
    "DY209": "an operation of torch raises for this signature",
    "DY210": "an impure call would be frozen at compile time",
    "DY211": "metadata of a tensor is changed in place",
    "DY212": "an input of the model is written in a way that its caller would not see",
    "DY213": "a value of this type cannot be an input, an output or state",
    "DY214": "the model always raises for this signature",
    "DY301": "aliases of a mutated tensor lie in different subgraphs",
    "DY401": "the target cannot compile a subgraph",
    "DY402": "a compiled subgraph disagrees with torch",
    "DY403": "the compiled model disagrees with the source",
    "DY404": "the artifact is damaged",
    "DY405": "the target would leave a subgraph to another runtime",
    "DY406": "the device of the artifact is not here",
    "DY501": "the model cannot be loaded",
    "DY502": "the inputs cannot be read",
    "DY503": "the output directory cannot be written",
    "DY504": "the target is not available",
    "DY505": "an option does not have this value",
}


# What to do where the refusal itself cannot say it more exactly.
HINTS: dict[str, str] = {
    "DY201": "use operations of torch whose result sizes follow from their arguments",
    "DY203": "use the function of torch or of Python's own that does the same",
    "DY204": "bound the number by a comparison first, or compute with it in tensors",
    "DY205": "make the object after the branch, or keep its content in a list or a dict",
    "DY206": "keep what changes at run time in attributes and buffers of the model",
    "DY208": "write the recursion as a loop",
    "DY209": "bring the tensors to the shapes and types that the operation documents",
    "DY210": "pass what the call returns as an input",
    "DY211": "use the form that returns a new tensor",
    "DY213": "pass and return tensors, numbers, text, lists, tuples or dicts",
}


class DyclError(Exception):
    """Base of everything dycl raises on purpose: a code, a place, a message and what to do."""

    def __init__(self, code: str, loc: SourceRange, message: str, *, hint: str = "") -> None:
        assert code in CODES, code
        super().__init__(message)
        self.code = code
        self.loc = loc
        self.message = message
        self.hint = hint or HINTS.get(code, "")

    def __str__(self) -> str:
        return f"{self.loc}: {self.code}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class UnsupportedError(DyclError):
    """The user's program asks for something that cannot be compiled soundly."""


class TargetError(DyclError):
    """A back end refused a subgraph, or computed something else than torch."""


class UsageError(DyclError):
    """The command or the call is wrong: a file that is not there, inputs that do not fit."""


class InternalError(Exception):
    """A bug of dycl; the message names the stage."""


def render(error: DyclError) -> str:
    """A diagnostic as a person reads it: place, code, message, the line with a caret, the hint."""
    head = f"{error.loc.file}:{error.loc.line}:{error.loc.column + 1}: " if error.loc.line else ""
    lines = [f"{head}error {error.code}: {error.message}"]
    source = linecache.getline(error.loc.file, error.loc.line).rstrip("\n") if error.loc.line else ""
    if source:
        one_line = error.loc.end_line in (0, error.loc.line)
        width = max(1, (error.loc.end_column if one_line else len(source)) - error.loc.column)
        lines += [f"    {source}", "    " + " " * error.loc.column + "^" * width]
    if error.hint:
        lines.append(f"  hint: {error.hint}")
    return "\n".join(lines)
