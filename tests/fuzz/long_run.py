"""`make fuzz N=10000`: many random programs, with other seeds every time, and a table of what became of them."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

CHUNK = 100  # programs to a process: what torch and the compiler keep for a process does not pile up


def main() -> int:
    """Run, print the table; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=None, help="the first seed; by default the time")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="where counterexamples go")
    parser.add_argument("--rounds", type=int, default=300, help="programs tried to make a counterexample smaller")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else int(time.time()) * 100_000
    console = Console()
    console.print(f"seeds from {first}; counterexamples go to {options.keep}")
    start = time.monotonic()
    rows: list[dict[str, object]] = []
    last = first + options.programs
    chunks = [range(begin, min(begin + CHUNK, last)) for begin in range(first, last, CHUNK)]
    with ThreadPoolExecutor(options.jobs) as pool:  # a thread waits for each process
        for found in pool.map(partial(run_chunk, kept=options.keep, rounds=options.rounds), chunks):
            rows += found
            counts = Counter(str(row["verdict"]) for row in rows)
            console.print(f"{len(rows)}: " + ", ".join(f"{n} {v}" for v, n in counts.most_common()), highlight=False)
    console.print(table(rows, time.monotonic() - start))
    return int(any(row["verdict"] in ("mismatch", "internal error", "crashed") for row in rows))


def run_chunk(seeds: range, kept: Path, rounds: int) -> list[dict[str, object]]:
    """The rows of some seeds; a process that dies costs the program that it was at."""
    rows: list[dict[str, object]] = []
    first, last = seeds.start, seeds.stop
    while first < last:
        command = [sys.executable, "-m", "tests.fuzz.worker", str(first), str(last - first), str(kept), str(rounds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        rows += found
        if done.returncode == 0:
            break
        first = int(found[-1]["seed"]) + 1 if found else first
        rows.append({"seed": first, "verdict": "crashed", "reason": _last_line(done), "seconds": 0.0})
        first += 1
    return rows


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.splitlines() or [f"exit {done.returncode}"])[-1]


def table(rows: list[dict[str, object]], seconds: float) -> Table:
    """How many of each verdict and reason, with a seed that shows it."""
    counts: Counter[tuple[str, str]] = Counter()
    seeds: dict[tuple[str, str], object] = {}
    for row in rows:
        reason = str(row["reason"])
        if row["verdict"] == "refused":
            reason = f"{reason}: {_without_place(str(row['details']))}"
        key = str(row["verdict"]), re.sub(r"\b(z?u[fi]?|program_)[0-9a-f]+(\.py:\d+)?", r"\1*", reason)[:110]
        counts[key] += 1
        seeds.setdefault(key, row["seed"])
    result = Table(title=f"{len(rows)} programs, {len(rows) / seconds:.2f} a second", show_lines=False)
    for column in ("verdict", "reason", "count", "share", "a seed"):
        result.add_column(column, overflow="fold")
    for key, count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1])):
        result.add_row(*key, str(count), f"{count / len(rows):.2%}", str(seeds[key]))
    for verdict, count in sorted(Counter(str(row["verdict"]) for row in rows).items()):
        result.add_row(verdict, "in all", str(count), f"{count / len(rows):.2%}", "")
    return result


def _without_place(text: str) -> str:
    """A refusal without file, line and code."""
    return text.split(": ", 2)[-1]


if __name__ == "__main__":
    sys.exit(main())
