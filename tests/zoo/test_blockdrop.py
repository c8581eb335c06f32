"""BlockDrop compiled: the policy network runs once, its vector decides block by block."""

import pytest

from tests.zoo.compiled import CompiledRow


@pytest.mark.slow
class TestBlockDrop(CompiledRow):
    name = "blockdrop"
    paths = 20
