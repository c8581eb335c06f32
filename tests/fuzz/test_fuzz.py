"""Random programs do, compiled, what they do in eager: some of them; `make fuzz` runs as many as you like."""

from __future__ import annotations

import random
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from tests.fuzz.programs import write_program
from tests.fuzz.running import Variation, Verdict, run_program
from tests.fuzz.worker import run_text

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.py"))


# `worker.py` makes a program smaller; a smaller seed is no smaller program
@settings(max_examples=40, phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_random_programs(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(seed)
    program = write_program(rng, 5)
    outcome = run_text(program.text, program.inputs, Variation.draw(rng), tmp_path_factory.mktemp("fuzz"))
    assume(outcome.verdict not in (Verdict.INVALID, Verdict.SLOW))
    assert outcome.verdict in (Verdict.EQUAL, Verdict.REFUSED), f"{outcome.reason}\n{outcome.details}\n{program.text}"


def _options(text: str) -> dict[str, str]:
    """The comments at the head of a regression: inputs, forks, passes left out."""
    lines = [line for line in text.splitlines()[:6] if line.startswith("# ")]
    return dict(line[2:].split(": ", 1) for line in lines if ": " in line)


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_regressions(path: Path, tmp_path: Path) -> None:
    """What once went wrong; each file says in its docstring what that was."""
    text = path.read_text(encoding="utf-8")
    options = _options(text)
    forks = int(options["forks"]) if "forks" in options else None
    copied = tmp_path / f"regression_{path.stem}.py"
    copied.write_text(text, encoding="utf-8")
    variation = Variation(forks, frozenset(options.get("without", "").split()))
    outcome = run_program(copied, options["inputs"].split(), variation)
    assert outcome.verdict is Verdict.EQUAL, f"{outcome.verdict}: {outcome.reason}\n{outcome.details}"


def test_programs_are_varied_and_valid() -> None:
    """Most programs mean something, and every feature occurs."""
    features: set[str] = set()
    for seed in range(100):
        program = write_program(random.Random(seed))
        compile(program.text, "program", "exec")
        features |= program.features
    assert len(features) > 30
