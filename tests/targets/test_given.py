"""One session for subgraphs that are the same but for their weights, which each gives it with each call."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import dycl
from dycl.artifact import load_artifact
from dycl.ir.contents import read_contents
from dycl.targets.onnxruntime.given import give_weights


def _model(
    node: onnx.NodeProto, weights: dict[str, tuple[tuple[int, ...], int]], type_: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    """A node over weights that lie in a file, each with its shape and its place there."""
    tensors = []
    for name, (shape, offset) in weights.items():
        tensor = TensorProto(name=name, data_type=type_, dims=shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", "weights.bin"), ("offset", str(offset))):
            tensor.external_data.add(key=key, value=value)
        tensors.append(tensor)
    ports = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, None)] for name in ("in0", "out0")]
    return helper.make_model(helper.make_graph([node], "subgraph", *ports, tensors))


def _product(rows: int, offset: int, bias: int = 0) -> onnx.ModelProto:
    node = helper.make_node("Gemm", ["in0", "v0", "v1"], ["out0"])
    return _model(node, {"v0": ((rows, 32), offset), "v1": ((32,), bias)})


def test_only_the_weights_in_which_models_differ_become_inputs() -> None:
    models = {"a": _product(32, 0), "b": _product(32, 4096), "other": _product(64, 0)}
    assert give_weights(models) == {"a": {"v0": ("weights.bin", 0)}, "b": {"v0": ("weights.bin", 4096)}}
    assert models["a"] == models["b"]
    assert [port.name for port in models["a"].graph.input] == ["in0", "v0"]
    assert [tensor.name for tensor in models["a"].graph.initializer] == ["v1"]
    assert [port.name for port in models["other"].graph.input] == ["in0"]


def test_what_would_be_packed_in_each_call_stays_where_it_is() -> None:
    assert not give_weights({"a": _product(4096, 0), "b": _product(4096, 1 << 20)})


def test_what_is_quantised_stays_constant() -> None:
    node = helper.make_node("MatMulInteger", ["in0", "v0"], ["out0"])
    assert not give_weights({str(at): _model(node, {"v0": ((32, 32), at)}, TensorProto.INT8) for at in (0, 4096)})


def test_models_with_all_weights_in_common_are_left_alone() -> None:
    models = {"a": _product(32, 0, bias=8192), "b": _product(32, 0, bias=8192)}
    assert not give_weights(models)
    assert len(models["a"].graph.initializer) == 2


class Gated(nn.Module):
    """Layers of one form, each with weights of its own, each skipped or not."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            if x.sum() > 0:
                x = x + layer(x)
        return x


@pytest.fixture(scope="module")
def model() -> Gated:
    torch.manual_seed(0)
    return Gated(4).eval()


@pytest.fixture(scope="module")
def tuned(model: Gated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("given") / "gated"
    dycl.compile(model, torch.randn(1, 8), output=place, tune=True)
    return place


def _inputs(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).standard_normal((count, 1, 8)).astype(np.float32))


def _expected(model: Gated, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("lazy", [False, True])
def test_layers_share_a_session_and_keep_their_weights(tuned: Path, model: Gated, lazy: bool) -> None:
    host = load_artifact(tuned, threads=1, lazy=lazy).host
    for x in _inputs(40):
        np.testing.assert_allclose(host(x), _expected(model, x), rtol=1e-4, atol=1e-5)
    subgraphs = read_contents(tuned)["subgraphs"].values()
    files = [entry["settings"]["tuned"] for entry in subgraphs if "given" in entry["settings"]]
    assert len(files) >= 2
    sessions = host.runtime._sessions  # type: ignore[attr-defined]
    assert set(sessions) == set(files)
    assert len(sessions) < len(files)


def test_the_plain_call_gives_them_too(tuned: Path, model: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where calls cannot be bound to memory."""
    host: Any = load_artifact(tuned, threads=1, lazy=True).host
    dispatch = sys.modules[type(host.runtime).__module__.replace(".runtime", ".dispatch")]
    monkeypatch.setattr(dispatch, "_can_bind", lambda _: False)
    for x in _inputs(10):
        np.testing.assert_allclose(host(x), _expected(model, x), rtol=1e-4, atol=1e-5)


def test_threads_run_one_session_with_their_own_weights(tuned: Path, model: Gated) -> None:
    host = load_artifact(tuned, threads=1, lazy=True).host
    inputs = _inputs(60)
    expected = [_expected(model, x) for x in inputs]
    wrong: list[int] = []

    def work(begin: int) -> None:
        numbers = [*range(begin, len(inputs)), *range(begin)]
        wrong.extend(n for n in numbers if not np.allclose(host(inputs[n]), expected[n], rtol=1e-4, atol=1e-5))

    threads = [threading.Thread(target=work, args=(15 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
