"""The rows of the zoo for TVM and for `auto`: verified like any other, and what TVM leaves to ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycl.loading import load_model
from dycl.pipeline import compile_model
from dycl.settings import Settings

pytest.importorskip("tvm")

ROOT = Path(__file__).parents[2]
# row: how many of its subgraphs TVM does not take, and why
LEFT: dict[str, tuple[int, set[str]]] = {
    "act": (0, set()),
    "blockdrop": (1, {"not TVM: it has the operator NonZero"}),
    "branchynet": (0, set()),
    "caption": (0, set()),
    "cascade_mtcnn": (4, {"not TVM: it has run-time sizes", "not TVM: it has Mod of integers"}),
    "deebert": (0, set()),
    "deq": (0, set()),
    "detection": (
        19,
        {
            "not TVM: it has run-time sizes",
            "not TVM: TVM does not compile it: Gather has run-time indices into a tensor of unknown shape",
        },
    ),
    "gpt_generate": (2, {"not TVM: it has run-time sizes"}),
    "lightglue_like": (12, {"not TVM: it has run-time sizes"}),
    "moe": (10, {"not TVM: it has run-time sizes", "not TVM: it has the operator NonZero"}),
    "msdnet": (0, set()),
    "pabee": (0, set()),
    "pondernet": (0, set()),
    "ranet": (0, set()),
    "seq2seq_attention": (1, {"not TVM: it has the operator GRU"}),
    "shallow_deep": (0, set()),
    "skipnet": (0, set()),
    "skipnet_rnn": (13, {"not TVM: it has the operator LSTM"}),
    "treelstm": (0, set()),
}
FOR_GPU = sorted(LEFT.keys() - {"cascade_mtcnn", "detection"})  # these two take minutes for each target


@pytest.mark.slow
@pytest.mark.parametrize("target", ["tvm", "auto"])
@pytest.mark.parametrize("name", LEFT)
def test_a_row_compiles_and_agrees_with_eager(name: str, target: str, tmp_path: Path) -> None:
    loaded = load_model(str(ROOT / "models_zoo" / f"{name}.py"))
    settings = Settings(target=target, rng="host" if name == "pondernet" else "refuse")
    built = compile_model(
        loaded.model, loaded.args, loaded.kwargs, settings, output=tmp_path / name, sampler=loaded.sample_inputs
    )
    assert built.report.verification is not None
    left = [subgraph for subgraph in built.report.subgraphs if subgraph.reason]
    assert (len(left), {subgraph.reason for subgraph in left}) == LEFT[name]
    assert all(subgraph.engine == "onnxruntime" for subgraph in left)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:compiled for cuda")
@pytest.mark.parametrize("name", FOR_GPU)
def test_a_row_for_a_gpu_agrees_with_eager(name: str, tmp_path: Path) -> None:
    """On the processor where no GPU is: with the host and the runtime that keep values on the device."""
    loaded = load_model(str(ROOT / "models_zoo" / f"{name}.py"))
    settings = Settings(device="cuda", rng="host" if name == "pondernet" else "refuse")
    built = compile_model(
        loaded.model, loaded.args, loaded.kwargs, settings, output=tmp_path / name, sampler=loaded.sample_inputs
    )
    assert built.report.verification is not None
    assert built.artifact.manifest.device == "cuda"
