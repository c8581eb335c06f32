"""One session for subgraphs that are the same but for their weights, which each gives it with each call."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import dycl
from dycl.artifact import load_artifact
from dycl.ir.contents import read_contents
from dycl.targets.onnxruntime.given import Given, Place, give_weights


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


def _store(data: bytes) -> Place:
    return "numbers", int.from_bytes(data, "little")


def test_only_the_weights_in_which_models_differ_become_inputs() -> None:
    models = {"a": _product(32, 0), "b": _product(32, 4096), "other": _product(64, 0)}
    weights = {"a": {"w0": ("weights.bin", 0)}, "b": {"w0": ("weights.bin", 4096)}}
    assert give_weights(models, _store) == {name: Given(places) for name, places in weights.items()}
    assert models["a"] == models["b"]
    assert [port.name for port in models["a"].graph.input] == ["in0", "w0"]
    assert [tensor.name for tensor in models["a"].graph.initializer] == ["w1"]
    assert [port.name for port in models["other"].graph.input] == ["in0"]


def test_what_would_be_packed_in_each_call_stays_where_it_is() -> None:
    assert not give_weights({"a": _product(4096, 0), "b": _product(4096, 1 << 20)}, _store)


def test_what_is_quantised_stays_constant() -> None:
    node = helper.make_node("MatMulInteger", ["in0", "v0"], ["out0"])
    models = {str(at): _model(node, {"v0": ((32, 32), at)}, TensorProto.INT8) for at in (0, 4096)}
    assert not give_weights(models, _store)


def test_models_with_all_weights_in_common_are_given_none() -> None:
    models = {"a": _product(32, 0, bias=8192), "b": _product(32, 0, bias=8192)}
    assert give_weights(models, _store) == {"a": Given(), "b": Given()}
    assert len(models["a"].graph.initializer) == 2


def _above(threshold: float, inputs: list[str], sizes: list[str]) -> onnx.ModelProto:
    """Which rows of the first input are above a threshold, times the second; inputs are declared in their order."""
    nodes = [
        helper.make_node("Greater", [inputs[0], "v0"], ["v1"]),
        helper.make_node("Cast", ["v1"], ["v2"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["v2", inputs[1]], ["out0"]),
    ]
    declared = dict(zip(inputs, sizes, strict=True))
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [declared[name], 4]) for name in sorted(inputs)]
    made = helper.make_tensor_value_info("out0", TensorProto.FLOAT, [sizes[0], 4])
    number = helper.make_tensor("v0", TensorProto.FLOAT, [], [threshold])
    return helper.make_model(helper.make_graph(nodes, "subgraph", ports, [made], [number]))


def test_numbers_names_of_sizes_and_the_order_of_inputs_may_differ() -> None:
    models = {"a": _above(1.0, ["in0", "in1"], ["u3", "u3"]), "b": _above(2.0, ["in1", "in0"], ["u7", "u7"])}
    places = {name: _store(np.float32(number).tobytes()) for name, number in (("a", 1.0), ("b", 2.0))}
    assert give_weights(models, _store) == {
        "a": Given({"w0": places["a"]}),
        "b": Given({"w0": places["b"]}, {"in1": "in0", "in0": "in1"}),
    }
    assert models["a"] == models["b"]
    assert [port.name for port in models["b"].graph.input] == ["in0", "in1", "w0"]


def test_numbers_that_happen_to_be_equal_are_two() -> None:
    """Where both thresholds are one, ONNX Runtime has made them one number."""

    def between(low: float, high: float) -> onnx.ModelProto:
        numbers = {"v0": low} if low == high else {"v0": low, "v1": high}
        nodes = [
            helper.make_node("Greater", ["in0", "v0"], ["v2"]),
            helper.make_node("Less", ["in0", list(numbers)[-1]], ["v3"]),
            helper.make_node("And", ["v2", "v3"], ["out0"]),
        ]
        ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("in0", "out0")]
        tensors = [helper.make_tensor(name, TensorProto.FLOAT, [], [number]) for name, number in numbers.items()]
        return helper.make_model(helper.make_graph(nodes, "subgraph", ports[:1], ports[1:], tensors))

    models = {"a": between(1.0, 1.0), "b": between(1.0, 2.0)}
    assert {name: list(given.weights) for name, given in give_weights(models, _store).items()} == {
        "a": ["w1"],
        "b": ["w1"],
    }
    assert models["a"] == models["b"]


def test_sizes_that_are_equal_in_one_model_alone_are_told_apart() -> None:
    models = {"a": _above(1.0, ["in0", "in1"], ["u3", "u3"]), "b": _above(2.0, ["in0", "in1"], ["u3", "u4"])}
    assert not give_weights(models, _store)


def test_a_number_that_a_kernel_may_want_to_know_stays() -> None:
    def reshaped(columns: int) -> onnx.ModelProto:
        model = _model(helper.make_node("Reshape", ["in0", "v0"], ["out0"]), {})
        model.graph.initializer.append(helper.make_tensor("v0", TensorProto.INT64, [2], [-1, columns]))
        return model

    assert not give_weights({"a": reshaped(2), "b": reshaped(4)}, _store)


def test_a_number_that_is_a_result_stays() -> None:
    def constant(number: float) -> onnx.ModelProto:
        model = _above(1.0, ["in0", "in1"], ["u3", "u3"])
        model.graph.initializer.append(helper.make_tensor("out1", TensorProto.FLOAT, [], [number]))
        model.graph.output.append(helper.make_tensor_value_info("out1", TensorProto.FLOAT, []))
        return model

    assert not give_weights({"a": constant(1.0), "b": constant(2.0)}, _store)


def test_what_a_graph_within_the_graph_reads_keeps_its_name() -> None:
    """Two names of one weight, one of them read inside; and two equal numbers."""

    def nested(offset: int) -> onnx.ModelProto:
        inner = helper.make_graph(
            [helper.make_node("Add", ["v1", "v3"], ["r"])],
            "inner",
            [],
            [helper.make_tensor_value_info("r", TensorProto.FLOAT, [4])],
        )
        nodes = [
            helper.make_node("Add", ["in0", "v0"], ["v4"]),
            helper.make_node("If", ["v2"], ["v5"], then_branch=inner, else_branch=inner),
            helper.make_node("Add", ["v5", "v6"], ["v7"]),
            helper.make_node("Add", ["v4", "v7"], ["out0"]),
        ]
        model = _model(nodes[0], {"v0": ((4,), offset), "v1": ((4,), offset)})
        model.opset_import[0].version, model.ir_version = 18, 10
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.append(helper.make_tensor("v2", TensorProto.BOOL, [], [True]))
        model.graph.initializer.append(helper.make_tensor("v6", TensorProto.FLOAT, [], [3.0]))
        model.graph.initializer.append(helper.make_tensor("v3", TensorProto.FLOAT, [], [3.0]))
        return model

    models = {"a": nested(0), "b": nested(64)}
    assert set(give_weights(models, _store)) == {"a", "b"}
    session = ort.InferenceSession(models["b"].SerializeToString(), providers=["CPUExecutionProvider"])
    rows = {port.name: np.full(4, 2.0, np.float32) for port in session.get_inputs()}
    np.testing.assert_array_equal(session.run(None, rows)[0], np.full(4, 12.0))


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


class Rounds(nn.Module):
    """The same work on slices of what is given, against thresholds of their own, in two orders of the operands."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        kept = x[x[:, 0] > 0.1]
        total = torch.zeros(4)
        for index, threshold in enumerate((0.25, 0.5, 0.55, 0.6)):
            if kept.shape[0] > index + 1:
                part = kept[:, index : index + 4] * y
                total = total + part[part[:, 0] > threshold].sum(0)
                kept = kept[kept[:, index] > threshold - 0.5]
        return total


def test_rounds_of_a_loop_share_a_session(tmp_path: Path) -> None:
    model = Rounds()
    compiled = dycl.compile(model, (torch.rand(16, 8), torch.rand(4)), output=tmp_path / "rounds", tune=1)
    entries = read_contents(compiled.directory)["subgraphs"].values()
    files = [entry["settings"]["tuned"] for entry in entries if "given" in entry["settings"]]
    assert len(files) > len(set(files))
    for seed in range(12):
        rng = torch.Generator().manual_seed(seed)
        x, y = torch.rand(16, 8, generator=rng), torch.rand(4, generator=rng)
        torch.testing.assert_close(compiled(x, y), model(x, y), rtol=1e-4, atol=1e-5)
