"""What the bytes of artifacts are: `python -m bench.sizes [--write-docs]` reads what `python -m bench` has compiled."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.report import WORK, markdown_table, write_section
from bench.rows import ROWS
from bench.tables import rich_table

_FILES = {"weights.bin": "weights", "tuned.bin": "tuned", "host.py": "host", "manifest.json": "manifest"}


def measure(artifact: Path) -> Counter[str]:
    """Bytes of an artifact by what they are; `runtime`: the text that artifacts of other models have too."""
    found: Counter[str] = Counter()
    for path in artifact.rglob("*"):
        name = path.relative_to(artifact).as_posix()
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        kind = "tuned" if name.endswith(".tuned.onnx") else "graphs" if name.endswith(".onnx") else "runtime"
        found[_FILES.get(name, kind)] += path.stat().st_size
    return found


def table(work: Path) -> list[list[str]]:
    """Head and a line for each row that was compiled."""
    parts = ("weights", "graphs", "host", "manifest", "runtime")
    head = ["network", "state dict", *parts, "artifact / state dict", "without what all have", "with what is tuned"]
    lines = [head]
    for name in ROWS:
        directory = work / name
        if (directory / "prepared.json").exists():
            prepared: dict[str, Any] = json.loads((directory / "prepared.json").read_text(encoding="utf-8"))
            lines.append(_line(name, prepared["state_dict_bytes"], measure(directory / "artifact"), parts))
    return lines


def _line(name: str, state: int, found: Counter[str], parts: tuple[str, ...]) -> list[str]:
    plain = found.total() - found["tuned"]
    ratios = (plain, plain - found["runtime"], found.total())
    sizes = (state, *(found[part] for part in parts))
    return [name, *(f"{size:,}" for size in sizes), *(f"{size / state:.2f}" for size in ratios)]


def main(
    work: Annotated[Path, typer.Option(help="Where rows are compiled to.")] = WORK,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="The table into docs/performance.md.")] = False,
) -> None:
    """Show what artifacts are made of."""
    lines = table(work)
    Console().print(rich_table(lines, title="bytes"))
    if write_docs:
        write_section("sizes", markdown_table(lines[0], lines[1:]))


if __name__ == "__main__":
    typer.run(main)
