"""The demonstration's judgement: what counts as agreement, and that its host process cannot import torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def demo(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """models_zoo.demo."""
    monkeypatch.syspath_prepend(str(root))
    import models_zoo.demo

    return models_zoo.demo


def logits_of(*probabilities: float) -> np.ndarray:
    """Logits [N, 1, 2] whose larger probabilities are these."""
    return np.stack([np.log([[p, 1 - p]]) for p in probabilities]).astype(np.float32)


def test_confidence_is_the_largest_probability(demo: ModuleType) -> None:
    assert np.allclose(demo.confidence(logits_of(0.9, 0.7)), [0.9, 0.7])


def test_equal_decisions_are_compared_by_their_outputs(demo: ModuleType) -> None:
    logits, exits = logits_of(0.95, 0.8), np.array([0, 3])
    differ, margin, error = demo.compare((logits, exits), (logits + np.float32(0.5), exits), 0.9)
    assert (len(differ), margin, error) == (0, 0.0, 0.5)


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        ((2, 0.90001), (4, 0.99), 0.00001),  # one left at the threshold, the other went on and was sure later
        ((4, 0.99), (2, 0.95), 0.05),  # no tie: the one that went on should have left
        ((1, 0.8), (2, 0.90002), 0.00002),  # the first did not leave at 2, ran to the end and took the best, 1
        ((1, 0.70), (5, 0.75), 0.05),  # both at the end: the two best are compared
    ],
)
def test_the_margin_of_a_tie(
    demo: ModuleType, mine: tuple[int, float], theirs: tuple[int, float], expected: float
) -> None:
    assert demo.tie_margin(mine, theirs, 0.9) == pytest.approx(expected)
    assert demo.tie_margin(theirs, mine, 0.9) == pytest.approx(expected)


def test_a_wrong_decision_is_no_tie(demo: ModuleType) -> None:
    mine, theirs = logits_of(0.95, 0.95), logits_of(0.95, 0.99)
    differ, margin, _ = demo.compare((mine, np.array([0, 1])), (theirs, np.array([0, 4])), 0.9)
    assert list(differ) == [1]
    assert margin > demo.TIE


@pytest.mark.parametrize("name", ["torch", "torch.nn", "dycl", "dycl.api"])
def test_the_hosts_process_cannot_import(name: str, root: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(root / 'models_zoo')!r}); import demo_host; import {name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"import of {name.split('.')[0]} is blocked here" in done.stderr
