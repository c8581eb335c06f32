"""Writes the table of docs/semantics.md from tests/conformance: `python docs/semantics.py`, `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "semantics.md"
_BEGIN = "<!-- constructs: written by docs/semantics.py from tests/conformance -->\n"
_END = "<!-- end of constructs -->\n"


def updated(page: str, table: str) -> str:
    """The page with the table between its marks."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise LookupError(f"{PAGE}: the marks of the table are not there")
    return f"{before}{_BEGIN}\n{table}\n{_END}{after}"


def main(arguments: list[str]) -> int:
    """Rewrite the page, or with `--check` say whether it is out of date."""
    sys.path.insert(0, str(DOCS.parent))
    from tests.conformance.catalogue import SECTIONS
    from tests.conformance.table import write_table

    page = PAGE.read_text(encoding="utf-8")
    new = updated(page, write_table(SECTIONS))
    is_stale = page != new
    if is_stale and "--check" not in arguments:
        PAGE.write_text(new, encoding="utf-8")
    if is_stale:
        print(("out of date: " if "--check" in arguments else "rewritten: ") + PAGE.name)
    return int(is_stale and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
