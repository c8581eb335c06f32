"""What the benchmarks share: the machine in words, medians with their spread, and sections of the documentation."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "performance.md"
WORK = ROOT / "build" / "bench"


def describe_machine() -> str:
    """Processor, cores, memory and versions on one line."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    processor = found.group(1).strip() if found else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "numpy"))
    return f"{processor}, {cores} cores, {memory:.0f} GiB; Python {platform.python_version()}, {packages}"


def median_and_spread(values: Sequence[float], digits: int = 1) -> str:
    """`4.2 (4.0-4.9)`: the median, the least and the largest."""
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first column to the left, the numbers to the right."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def write_section(name: str, text: str, path: Path = DOCS) -> None:
    """Put the text between the marks of the section; a section that is not there yet comes at the end."""
    start, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Performance\n"
    section = f"{start}\n{text.strip()}\n{end}"
    if start in old:
        before, _, rest = old.partition(start)
        _, _, after = rest.partition(end)
        path.write_text(before + section + after, encoding="utf-8")
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{old.rstrip()}\n\n{section}\n", encoding="utf-8")
