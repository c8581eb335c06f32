"""DeeBert compiled."""

from tests.zoo.compiled import CompiledRow


class TestDeeBert(CompiledRow):
    name = "deebert"
    paths = 5
