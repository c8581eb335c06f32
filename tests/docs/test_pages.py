"""The pages: their excerpts are current, their links lead somewhere, their names exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from dycl.diagnostics import CODES

REPOSITORY = Path(__file__).parent.parent.parent
PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))


def test_excerpts_are_current(load: Callable[[str], ModuleType], update_golden: bool) -> None:
    excerpts = load("excerpts.py")
    stages = excerpts.stage_texts()
    pages = excerpts.pages()
    assert pages
    for path in pages:
        page = path.read_text(encoding="utf-8")
        if update_golden:
            path.write_text(excerpts.updated(page, stages), encoding="utf-8")
        else:
            assert page == excerpts.updated(page, stages), f"{path.name}: run `python docs/excerpts.py`"


def test_an_excerpt_that_is_not_there_is_an_error(load: Callable[[str], ModuleType]) -> None:
    excerpts = load("excerpts.py")
    assert excerpts.cut({"s": "a\n  b\n  c\nd"}, "s", "b", "c") == "b\nc\n"
    page = '<!-- excerpt s from "no" to "c" -->\n```text\nold\n```\n'
    with pytest.raises(LookupError):
        excerpts.updated(page, {"s": "b\nc"})
    assert excerpts.updated(page.replace("no", "b"), {"s": "b\nc"}).endswith("```text\nb\nc\n```\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_and_codes_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:dycl|passes|hostgen|targets|docs|tests)/[\w/.]*)`", text):
        assert (REPOSITORY / path).exists(), f"{page.name}: {path}"
    for code in re.findall(r"DY\d{3}", text):
        assert code in CODES, f"{page.name}: {code}"


def test_the_index_names_every_page() -> None:
    folder = REPOSITORY / "docs"
    index = (folder / "index.md").read_text(encoding="utf-8")
    missing = [p for page in PAGES if (p := str(page.relative_to(folder))) != "index.md" and f"({p})" not in index]
    assert not missing
