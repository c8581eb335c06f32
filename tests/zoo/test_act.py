"""ACT compiled: the halting loop stays a loop."""

import pytest

from tests.zoo.compiled import CompiledRow, Row


@pytest.mark.slow
class TestAct(CompiledRow):
    name = "act"
    paths = 4

    def test_the_loop_is_one_loop(self, row: Row) -> None:
        assert len(row.built.checked.program.subgraphs) <= 6  # ten steps, were they unrolled, are forty
