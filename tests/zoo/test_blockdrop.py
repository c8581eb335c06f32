"""BlockDrop compiled: the policy network runs once, its vector decides block by block."""

from tests.zoo.compiled import CompiledRow


class TestBlockDrop(CompiledRow):
    name = "blockdrop"
    paths = 20
