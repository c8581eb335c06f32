"""Python text with indentation, comments that give way, and long lines broken inside their brackets."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

WIDTH = 120
_INDENT = "    "
_OPEN, _CLOSE = "([{", ")]}"


class PythonWriter:
    """Collects lines."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def line(self, text: str, comment: str = "") -> None:
        """A statement; its comment goes above where it does not fit behind."""
        indent = _INDENT * self._depth
        remark = f"  # {comment}" if comment else ""
        if len(indent) + len(text) + len(remark) <= WIDTH:
            self._lines.append(indent + text + remark)
            return
        if comment:
            self._lines.append(f"{indent}# {comment[: WIDTH - len(indent) - 2]}")
        self._lines += break_line(text, indent)

    def blank(self, count: int = 1) -> None:
        """Empty lines."""
        self._lines += [""] * count

    @contextmanager
    def block(self, header: str, comment: str = "") -> Iterator[None]:
        """A compound statement; what is written inside is its body."""
        self.line(header, comment)
        self._depth += 1
        yield
        self._depth -= 1

    def text(self) -> str:
        """All lines."""
        return "\n".join(self._lines) + "\n"


def break_line(text: str, indent: str) -> list[str]:
    """The statement on as many lines as it needs."""
    if len(indent) + len(text) <= WIDTH:
        return [indent + text]
    target, found, value = _split_assignment(text)
    if found and len(target) > WIDTH // 2:
        left = break_line(target if target.startswith("(") else f"({target})", indent)
        right = break_line(value, indent)
        return [*left[:-1], f"{left[-1]} = {right[0].lstrip()}", *right[1:]]
    group = _widest_group(text)
    if group is None:
        return [f"{indent}{text}  # noqa: E501"]
    start, end = group
    items = _split_items(text[start + 1 : end])
    is_tuple = text[start + 1 : end].rstrip().endswith(",")  # of one item perhaps, which the comma makes it
    comma = "," if len(items) > 1 or is_tuple or _is_display_or_call(text, start) else ""
    inner = indent + _INDENT
    if all(item.isdigit() for item in items):  # they fill lines
        filled = textwrap.wrap(", ".join(items) + comma, WIDTH, initial_indent=inner, subsequent_indent=inner)
        return [indent + text[: start + 1], *filled, indent + text[end:]]
    lines = [line for item in items for line in break_line(item + comma, inner)]
    return [indent + text[: start + 1], *lines, indent + text[end:]]


def _scan(text: str) -> Iterator[tuple[int, str, int]]:
    """Position, character and bracket depth of what is not inside a string literal."""
    depth = 0
    quote = ""
    skip = False
    for index, char in enumerate(text):
        if quote:
            if skip:
                skip = False
            elif char == "\\":
                skip = True
            elif char == quote:
                quote = ""
            continue
        if char in "'\"":
            quote = char
        elif char in _OPEN:
            depth += 1
            yield index, char, depth
            continue
        yield index, char, depth
        if char in _CLOSE:
            depth -= 1


def _widest_group(text: str) -> tuple[int, int] | None:
    """The longest bracketed part that lies in no other and is not empty."""
    best: tuple[int, int] | None = None
    start = 0
    for index, char, depth in _scan(text):
        if depth == 1 and char in _OPEN:
            start = index
        elif (
            depth == 1 and char in _CLOSE and index > start + 1 and (best is None or index - start > best[1] - best[0])
        ):
            best = (start, index)
    return best


def _split_items(text: str) -> list[str]:
    """The parts between the commas that lie in no bracket."""
    cuts = [index for index, char, depth in _scan(text) if char == "," and depth == 0]
    parts = [text[a + 1 : b].strip() for a, b in zip([-1, *cuts], [*cuts, len(text)], strict=True)]
    return [part for part in parts if part]


def _split_assignment(text: str) -> tuple[str, str, str]:
    """Target, sign and value of a plain assignment; an annotated target may stand in no bracket of its own."""
    for index, char, depth in _scan(text):
        if char == ":" and depth == 0:
            break
        if char == "=" and depth == 0 and text[index - 1 : index + 2] == " = ":
            return text[: index - 1], "=", text[index + 2 :]
    return text, "", ""


def _is_display_or_call(text: str, start: int) -> bool:
    """Whether a comma after the only item changes nothing: a call, a list or a dict, but no group and no subscript."""
    after_name = start > 0 and (text[start - 1].isalnum() or text[start - 1] in "_)]")
    return after_name if text[start] == "(" else not after_name
