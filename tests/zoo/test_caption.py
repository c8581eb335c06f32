"""Show and Tell compiled: a decoding loop over a growing list."""

from tests.zoo.compiled import Call, CompiledRow, Row


class TestCaption(CompiledRow):
    name = "caption"
    paths = 5

    def eager_path(self, row: Row, call: Call) -> object:
        """The words differ from call to call, the path is how many there are."""
        return len(call.decided), call.decided[-1] == row.loaded.model.eos
