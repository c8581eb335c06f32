"""What counts of several measurements of one row."""

from __future__ import annotations

from bench.__main__ import find_middle


def test_the_middle_process_counts_and_all_are_told() -> None:
    rows = [{"ratio_oracle": ratio, "dycl_us": us} for ratio, us in ((1.3, 30), (0.9, 10), (1.1, 20))]
    assert find_middle(rows) == {"ratio_oracle": 1.1, "dycl_us": 20, "ratio_oracle_processes": [0.9, 1.1, 1.3]}


def test_of_an_even_number_it_is_the_worse_of_the_two_in_the_middle() -> None:
    rows = [{"ratio_oracle": 1.2}, {"ratio_oracle": 1.0}, {"ratio_oracle": 1.4}, {"ratio_oracle": 1.3}]
    assert find_middle(rows)["ratio_oracle"] == 1.3


def test_without_an_oracle_the_last_counts() -> None:
    assert find_middle([{"dycl_us": 1}, {"dycl_us": 2}]) == {"dycl_us": 2}
