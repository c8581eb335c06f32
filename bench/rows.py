"""The rows of the benchmark: the networks of the zoo that compile, with the options that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.report import ROOT
from dycl.loading import LoadedModel, load_model, split_call
from dycl.settings import Settings

Call = tuple[tuple[object, ...], dict[str, object]]


_TUNED = Settings(verify=False, tune=True, profile=32)


@dataclass(frozen=True, slots=True)
class Row:
    """A network of the zoo: `models_zoo/NAME.py`."""

    name: str
    settings: Settings = _TUNED
    core: bool = False  # of those that `bench.targets` and `bench.gpu` take unasked

    def load(self) -> LoadedModel:
        """The live model."""
        return load_model(str(ROOT / "models_zoo" / f"{self.name}.py"))


ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("skipnet", core=True),
        Row("skipnet_rnn", core=True),
        Row("blockdrop", core=True),
        Row("shallow_deep", core=True),
        Row("branchynet", core=True),
        Row("msdnet", core=True),
        Row("ranet", core=True),
        Row("deebert", core=True),
        Row("pabee", core=True),
        Row("caption", core=True),
        Row("act", core=True),
        Row("pondernet", replace(_TUNED, rng="host"), core=True),
        Row("deq", core=True),
        Row("moe", core=True),
        Row("seq2seq_attention"),
        Row("gpt_generate"),
        Row("treelstm"),
        Row("lightglue_like"),
        Row("detection"),
        Row("cascade_mtcnn"),
    )
}


def sample_calls(loaded: LoadedModel, count: int) -> Sequence[Call]:
    """The inputs that a row is measured on: as the zoo samples them, the same for everybody."""
    assert loaded.sample_inputs is not None
    return [split_call(loaded.sample_inputs(seed)) for seed in range(count)]
