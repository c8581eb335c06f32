"""Runs the programs of some seeds in a process of their own, and says what became of each: a line of JSON each."""

from __future__ import annotations

import hashlib
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.programs import RandomProgram, write_program
from tests.fuzz.running import Outcome, Variation, Verdict, run_program
from tests.fuzz.shrinking import shrink

KEPT = (Verdict.MISMATCH, Verdict.INTERNAL)
SHOWN = (Verdict.REFUSED, Verdict.SLOW)  # kept as they are, in folders of their own


def run_seed(seed: int, folder: Path) -> tuple[RandomProgram, Variation, Outcome]:
    """The program of a seed, how it was compiled, what came out."""
    rng = random.Random(seed)
    program = write_program(rng, rng.choice([4, 8, 12, 16]))
    variation = Variation.draw(rng)
    return program, variation, run_text(program.text, program.inputs, variation, folder)


def run_text(text: str, inputs: tuple[str, ...], variation: Variation, folder: Path) -> Outcome:
    """What becomes of a program given as text."""
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = folder / f"program_{name}.py"
    path.write_text(text, encoding="utf-8")
    try:
        return run_program(path, inputs, variation)
    finally:
        path.unlink()


def smallest(program: RandomProgram, variation: Variation, outcome: Outcome, folder: Path, rounds: int) -> str:
    """A smaller program with the same outcome."""

    def shows(text: str) -> bool:
        found = run_text(text, program.inputs, variation, folder)
        return found.verdict is outcome.verdict and _kind(found) == _kind(outcome)

    return shrink(program.text, shows, rounds=rounds)


def _kind(outcome: Outcome) -> str:
    """What has to stay the same while a program gets smaller: not the names and numbers in a message."""
    return f"{outcome.reason.split(' at ')[0]} {outcome.kind}"


def save(program: RandomProgram, variation: Variation, outcome: Outcome, text: str, path: Path) -> None:
    """Write a counterexample as a file that `regressions` can take as it is."""
    head = f"# inputs: {' '.join(program.inputs)}\n"
    head += f"# forks: {variation.forks}\n" if variation.forks is not None else ""
    head += f"# without: {' '.join(sorted(variation.skipped))}\n" if variation.skipped else ""
    story = "".join(
        f"# {line}\n" for line in f"{outcome.verdict.value}: {outcome.reason}\n{outcome.details}".splitlines()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}{text}\n\n{story}", encoding="utf-8")


def main(first: int, count: int, kept: Path, rounds: int) -> None:
    """Run the seeds from the first on; counterexamples go to the folder `kept`."""
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(first, first + count):
            start = time.process_time()
            program, variation, outcome = run_seed(seed, folder)
            seconds = time.process_time() - start
            row = {"seed": seed, "verdict": outcome.verdict.value, "reason": outcome.reason, "seconds": seconds}
            row["details"] = (outcome.details.splitlines() or [""])[0][:200]
            row["features"] = sorted(program.features)
            print(json.dumps(row), flush=True)
            if outcome.verdict in SHOWN:
                save(program, variation, outcome, program.text, kept / outcome.verdict.name.lower() / f"seed{seed}.py")
            if outcome.verdict in KEPT:
                text = smallest(program, variation, outcome, folder, rounds) if rounds else program.text
                save(program, variation, outcome, text, kept / f"seed{seed}.py")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
