"""A mixture of experts compiled: which experts run, and on how many tokens, depends on the data."""

from tests.zoo.compiled import CompiledRow


class TestMoe(CompiledRow):
    name = "moe"
    paths = 5
