"""The rows of the zoo for TVM and for `auto`: verified like any other, and what TVM leaves to ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycl.loading import load_model
from dycl.pipeline import Settings, compile_model

pytest.importorskip("tvm")

ROOT = Path(__file__).parents[2]
# row: how many of its subgraphs TVM does not take, and why
LEFT = {
    "act": (0, ""),
    "blockdrop": (1, "not TVM: it has the operator NonZero"),
    "branchynet": (0, ""),
    "caption": (0, ""),
    "deebert": (0, ""),
    "deq": (0, ""),
    "moe": (22, "not TVM: it has run-time sizes"),
    "msdnet": (0, ""),
    "pabee": (0, ""),
    "pondernet": (0, ""),
    "ranet": (0, ""),
    "shallow_deep": (0, ""),
    "skipnet": (0, ""),
    "skipnet_rnn": (13, "not TVM: it has the operator LSTM"),
}


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
    assert len(left) == LEFT[name][0]
    assert {subgraph.reason for subgraph in left} <= {LEFT[name][1]}
    assert all(subgraph.engine == "onnxruntime" for subgraph in left)
