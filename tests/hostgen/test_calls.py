"""What a call of a host is: the compiled method itself, with a record of its own for each thread."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest

from dycl.ir.environment import Environment
from tests.hostgen.harness import compare, host_class, host_text, make_host, parse

GATE = """\
param x: positional_or_keyword = input 0: float32[1]
entry b0
b0(%0 x: float32[1]):
  %1: float = host item(%0)
  %2: bool = host gt(%1, 0.0)
  branch %2 ? b1 : b2
b1:
  return %1
b2:
  return 0.0
"""


def array(value: float) -> np.ndarray:
    return np.array([value], np.float32)


def test_a_call_is_the_method_without_a_function_in_between() -> None:
    made = host_class(parse(GATE), Environment())
    assert vars(made)["__call__"] is vars(made)["forward"]


def test_a_subclass_calls_its_own_method() -> None:
    made: Any = host_class(parse(GATE), Environment())

    class Doubled(made):  # type: ignore[misc]
        def forward(self, x: np.ndarray) -> float:
            return 2 * float(super().forward(x))

    class Asked(made):  # type: ignore[misc]
        def __call__(self, x: float) -> float:
            return float(self.forward(array(x)))

    class Later(Asked):
        def forward(self, x: np.ndarray) -> float:
            return -float(super().forward(x))

    class Mixed(Doubled, made):  # type: ignore[misc]
        METHOD = "twice"

        def twice(self, x: np.ndarray) -> float:
            return 2 * float(self.forward(x))

    assert (Doubled()(array(3)), Asked()(3), Later()(3), Mixed()(array(3))) == (6, 3, -3, 12)


def test_force_holds_from_the_next_call_on() -> None:
    host = make_host(parse(GATE))
    assert (host(array(3)), host.decisions) == (3.0, [(0, True)])
    host.force = lambda site, taken: 0  # what is not a bool counts as one
    assert (host(array(3)), host.decisions) == (0.0, [(0, False)])
    host.force = None
    assert host.decisions == [(0, False)]
    assert (host(array(3)), host.decisions) == (3.0, [(0, True)])


def test_a_call_that_is_refused_has_decided_nothing() -> None:
    host = make_host(parse(GATE))
    host(array(3))
    with pytest.raises(TypeError, match="x: expected"):
        host(3)
    assert host.decisions == []


def test_each_thread_sees_its_own_decisions() -> None:
    host = make_host(parse(GATE))
    wrong: list[object] = []

    def work(sign: int) -> None:
        for value in range(1, 300):
            host(array(sign * value))
            if host.decisions != [(0, sign > 0)]:
                wrong.append(host.decisions)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(sign,)) for sign in (1, -1, 1, -1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


PROCEDURES = """\
param x: positional_or_keyword = input 0: int from 0
entry b0
procedure p0 'outer' b1
procedure p1 'inner' b2
procedure p2 'plain' b5
"""


def test_only_what_decides_is_handed_what_records_decisions() -> None:
    text = (
        PROCEDURES
        + """\
b0(%0 x: int):
  %1: int = invoke p0(%0)
  %2: int = invoke p2(%1)
  return %2
b1(%3 n: int):
  %4: int = invoke p1(%3)
  reply (%4)
b2(%5 n: int):
  %6: bool = host gt(%5, 3)
  branch %6 ? b3 : b4
b3:
  %7: int = host sub(%5, 3)
  %8: int = invoke p0(%7)
  reply (%8)
b4:
  reply (%5)
b5(%9 n: int):
  %10: int = host add(%9, 1)
  reply (%10)
"""
    )
    program = parse(text)
    written = host_text(program)
    for line in ("def _outer(self, decide: Decide, n: int)", "self._inner(decide, n)", "def _plain(self, n: int)"):
        assert line in written
    compare(program, [(8,), (2,)])
