"""DeeBert compiled."""

import pytest

from tests.zoo.compiled import CompiledRow


@pytest.mark.slow
class TestDeeBert(CompiledRow):
    name = "deebert"
    paths = 5
