"""BranchyNet compiled."""

from tests.zoo.compiled import CompiledRow


class TestBranchyNet(CompiledRow):
    name = "branchynet"
    paths = 3
