"""Calls of sessions in which sizes are known in the call only: all inputs at once, and all results."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import dycl
from dycl.artifact import load_artifact
from dycl.ir.contents import read_contents
from dycl.targets.onnxruntime.dispatch import make_call
from dycl.targets.onnxruntime.memory import Memory
from dycl.targets.onnxruntime.unsized import Feeder

TYPES = {"int": TensorProto.INT64, "float": TensorProto.DOUBLE, "bool": TensorProto.BOOL}


def _repeated(kind: str, shape: tuple[int, ...] = ()) -> Callable[..., Any]:
    """A number, and a row that has it as often as there are elements in another; and it in a shape."""
    ports = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]),
        helper.make_tensor_value_info("number", TYPES[kind], []),
    ]
    outputs = [
        helper.make_tensor_value_info("row", TYPES[kind], ["n"]),
        helper.make_tensor_value_info("one", TYPES[kind], shape),
    ]
    nodes = [
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Expand", ["number", "size"], ["row"]),
        helper.make_node("Expand", ["number", "wanted"], ["one"]),
    ]
    wanted = helper.make_tensor("wanted", TensorProto.INT64, [len(shape)], shape)
    graph = helper.make_graph(nodes, "graph", ports, outputs, [wanted])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    entry = {
        "inputs": [{"name": "x"}, {"name": "number", "scalar": kind}],
        "outputs": [{"name": "row", "shape": ["n"]}, {"name": "one", "shape": list(shape)}],
    }
    return make_call(session, entry, Memory(), {})


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("int", [0, 3, -1, 3, 1 << 40, True]),
        ("float", [0.0, -0.0, 0.0, math.inf, math.nan, math.nan, 0.1, 3]),
        ("bool", [True, False, True, 1, 0]),
    ],
)
def test_a_number_is_taken_as_what_it_is(kind: str, numbers: list[float]) -> None:
    call = _repeated(kind)
    for number in numbers:
        row, one = call(np.zeros(3, np.float32), number)
        wanted = np.array(number, {"int": np.int64, "float": np.float64, "bool": np.bool_}[kind])
        assert one.shape == ()
        for result, size in ((row, 3), (one, 1)):
            assert result.dtype == wanted.dtype
            assert result.tobytes() == np.full(size, wanted).tobytes()  # the sign of a zero among it


def test_numbers_that_are_remembered_have_an_end() -> None:
    feeder = Feeder(Memory())
    for number in range(3000):
        assert feeder.number(number, "int").numpy() == number
    assert len(feeder._numbers["int"]) < 2000


def test_results_are_everybodys_own() -> None:
    call = _repeated("int")
    held = [call(np.zeros(size, np.float32), size) for size in range(50)]
    for size, (row, one) in enumerate(held):
        assert row.tolist() == [size] * size
        assert one == size
        row[...], one[...] = -1, -1
    assert call(np.zeros(2, np.float32), 7)[0].tolist() == [7, 7]


def test_a_result_of_known_size_stays_bound() -> None:
    """Others that take it find it bound."""
    call = _repeated("int", (2, 1))
    places = set()
    for size in range(4):
        row, one = call(np.zeros(size, np.float32), size)
        assert (row.tolist(), one.tolist()) == ([size] * size, [[size]] * 2)
        places.add(one.ctypes.data)
        del row, one
    assert len(places) == 1


def test_an_array_in_pieces_is_read_as_it_is() -> None:
    call = _repeated("float")
    pieces = np.arange(12, dtype=np.float32).reshape(3, 4)[:, 1]
    assert call(pieces, 2.0)[0].tolist() == [2.0] * 3
    feeder = Feeder(Memory())
    assert feeder.find(pieces).numpy().tolist() == [1, 5, 9]
    assert feeder.find(np.float32(3)).numpy() == 3
    whole = np.arange(3, dtype=np.float32)
    assert np.shares_memory(feeder.find(whole).numpy(), whole)


def test_threads_do_not_meet() -> None:
    call = _repeated("int")
    wrong: list[int] = []

    def work(number: int) -> None:
        for size in range(200):
            row, one = call(np.zeros(size, np.float32), number)
            if row.tolist() != [number] * size or one != number:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Picked(nn.Module):
    """Rows that the data chooses, through layers that share a session where they were optimised for this machine."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x[x[:, 0] > -0.5])
            if x.sum().item() > 100:
                break
        return x


@pytest.mark.parametrize("tune", [0, 1])
def test_what_comes_out_is_what_torch_computes(tmp_path: Path, tune: int) -> None:
    torch.manual_seed(0)
    model = Picked().eval()
    compiled = dycl.compile(model, torch.randn(8, 6), output=tmp_path / "picked", tune=tune)
    entries = read_contents(compiled.directory)["subgraphs"].values()
    assert any("given" in entry["settings"] for entry in entries) is bool(tune)
    for seed in range(8):
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(seed)) * (seed % 3)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)


class Shrinking(nn.Module):
    """Places that grow fewer; the host asks how many there are, and which is the first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        order = torch.where(x > 0)[0]
        total = x.sum()
        while order.numel() > 0:
            first = order[0].item()
            total = total * 0.5 + x[first]
            order = order[x[order] > x[first]]
        return total


def test_what_the_host_looks_into_is_handed_on_as_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Shrinking()
    compiled = dycl.compile(model, torch.randn(8), output=tmp_path / "shrinking")
    text = (compiled.directory / "host.py").read_text()
    assert "array_of(order)" in text
    assert "size_of(order, 0)" in text
    entries = read_contents(compiled.directory)["subgraphs"].values()
    assert any("handed_on" in entry["settings"] for entry in entries)
    for seed in range(8):
        x = torch.randn(8, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(compiled(x), model(x))
    host: Any = load_artifact(compiled.directory, lazy=True).host
    dispatch = sys.modules[type(host.runtime).__module__.replace(".runtime", ".dispatch")]
    monkeypatch.setattr(dispatch, "_can_bind", lambda _: False)  # all results are arrays then
    np.testing.assert_allclose(host(x.numpy()), model(x).numpy(), rtol=1e-5)
