"""Every error code is explained in docs/errors.md, raised somewhere in the source and triggered by a test."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from dycl.diagnostics import CODES

CODE = re.compile(r"\bDY\d{3}\b")


def mentioned(paths: Iterable[Path]) -> set[str]:
    return {code for path in paths for code in CODE.findall(path.read_text(encoding="utf-8"))}


def test_every_code_has_one_entry_in_the_documentation(root: Path) -> None:
    text = (root / "docs" / "errors.md").read_text(encoding="utf-8")
    headings = [code for line in text.splitlines() if line.startswith("#") for code in CODE.findall(line)]
    assert sorted(headings) == sorted(CODES)


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_raised_and_tested(code: str, root: Path, modules: dict[str, Path]) -> None:
    assert code in mentioned(path for name, path in modules.items() if name != "dycl.diagnostics"), "nothing raises it"
    here = Path(__file__)
    tests = (path for path in (root / "tests").rglob("*") if path.suffix in (".py", ".txt") and path != here)
    assert code in mentioned(tests), "no test mentions it"


def test_only_listed_codes_are_used(modules: dict[str, Path]) -> None:
    assert mentioned(modules.values()) <= set(CODES)
