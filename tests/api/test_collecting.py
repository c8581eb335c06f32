"""The garbage collector's thresholds while a compile runs, and behind it."""

from __future__ import annotations

import gc

import pytest

from dycl.collecting import seldom_collected


def test_the_thresholds_of_the_process_hold_again():
    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), seldom_collected():
        assert gc.get_threshold()[0] > before[0]
        _ = 1 / 0
    assert gc.get_threshold() == before


def test_a_collector_that_is_off_stays_off():
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        with seldom_collected():
            assert gc.get_threshold()[0] == 0
        assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)
