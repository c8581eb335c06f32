"""What an approximate artifact (`--quantize`) makes of the sampled calls, beside what the model makes of them.

There is no tolerance to keep: numbers differ by intent. What is told is how far, and how many calls take another path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dycl.comparison import Comparison
from dycl.sampling import Sample
from dycl.trials import ExecutorTrial, HostTrial, Subject, compare_outcomes
from dycl.verification import is_admitted

_FAR = 1e30  # no float is that far off


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyReport:
    """Of `calls`: those that took another path, and those whose integers, texts or shapes differ on the same path.

    The error is the largest over all floats of the other calls, state included.
    """

    calls: int
    flipped: tuple[str, ...]
    changed: tuple[str, ...]
    max_abs_error: float


def measure_accuracy(subject: Subject, samples: Sequence[Sample]) -> AccuracyReport:
    """The report. After a call on another path the states differ: both sides begin anew."""
    admitted = [sample for sample in samples if is_admitted(subject, sample)]
    flipped, changed = [], []
    largest = 0.0
    executor, host = ExecutorTrial(subject), HostTrial(subject)
    for sample in admitted:
        expected, actual = executor.run(sample), host.run(sample)
        found = Comparison(rtol=0.0, atol=_FAR)
        if expected.decisions != actual.decisions:
            flipped.append(sample.origin)
        elif not compare_outcomes(expected, actual, subject, found):
            changed.append(f"{sample.origin}: {found.differences[0]}")
        else:
            largest = max(largest, found.max_abs_error)
            continue
        executor, host = ExecutorTrial(subject), HostTrial(subject)
    return AccuracyReport(
        calls=len(admitted),
        flipped=tuple(flipped),
        changed=tuple(changed),
        max_abs_error=largest,
    )
