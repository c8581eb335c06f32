"""The Shallow-Deep Network compiled: exits by confidence, and the most confident of all where nobody is sure."""

import pytest

from tests.zoo.compiled import Call, CompiledRow, Row


@pytest.mark.slow
class TestShallowDeep(CompiledRow):
    name = "shallow_deep"
    paths = 5

    def eager_path(self, row: Row, call: Call) -> object:
        """The confidences differ from call to call, the path is what the test says of each."""
        threshold = row.loaded.model.threshold
        return tuple(value > threshold if isinstance(value, float) else value for value in call.decided)
