"""What a program reads of its tensors is held against what eager reads."""

from __future__ import annotations

from dycl.diagnostics import SourceRange
from dycl.eagerlog import Read, find_unmatched


def at(line: int) -> SourceRange:
    return SourceRange("m.py", line, 0, line, 9, "forward")


READS = [Read(0.5, at(3)), Read(2, at(4)), Read(0.25, at(5)), Read(0.5, at(3)), Read(0.75, at(5))]


def test_the_order_within_a_block_may_be_another() -> None:
    seen = [(at(3), 0.5), (at(3), 0.5), (at(5), 0.25), (at(5), 0.75), (at(4), 2)]
    assert find_unmatched(seen, READS, 1e-6, 1e-6) is None
    assert find_unmatched(seen[1:4], READS, 1e-6, 1e-6) is None  # less is read where nothing depends on it


def test_nothing_is_read_that_the_source_does_not_read() -> None:
    assert find_unmatched([(at(3), 0.5)] * 3, READS, 1e-6, 1e-6) == (at(3), 0.5)
    assert find_unmatched([(at(5), 0.26)], READS, 1e-6, 1e-6) == (at(5), 0.26)
    assert find_unmatched([(at(4), 2.0)], READS, 1e-6, 1e-6) == (at(4), 2.0)
