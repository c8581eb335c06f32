"""DEQ compiled: the solver's loop and its Python floats in the host, its residuals kept on the model."""

import pytest

from tests.zoo.compiled import Call, CompiledRow, Row


@pytest.mark.slow
class TestDeq(CompiledRow):
    name = "deq"
    paths = 8
    state = ("fixed_point.forward_res",)

    def eager_path(self, row: Row, call: Call) -> object:
        """How many steps both solvers took: what was read are residuals, different in every call.

        The first call finds an empty list on the model, which has an entry of its own.
        """
        return call.value[1:], call is row.eager[0]
