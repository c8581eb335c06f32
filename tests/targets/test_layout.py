"""Cutting stand-ins off: the model computes the same on values in blocks, or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
import pytest
from onnx import parser

from dycl.targets.onnxruntime import layout

pytestmark = pytest.mark.skipif(not layout.block_size(), reason="ONNX Runtime knows no blocks on this processor")

SHAPE = (1, 32, 4, 4)


def _model(body: str, results: str) -> onnx.ModelProto:
    """A graph over one picture of 32 channels; `w`: the weights of a convolution of 3 by 3."""
    model = parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 18]>
        g (float[1,32,4,4] in0) => ({results}) <int64[2] axes = {{2,3}}> {{ {body} }}"""
    )
    weight = np.random.default_rng(1).standard_normal((32, 32, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return model


def _run(model: onnx.ModelProto, x: np.ndarray, *, optimised: bool) -> list[np.ndarray]:
    options = ort.SessionOptions()
    if optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(None, {"in0": x})
    return results


CASES = {
    "a block": ("a = Conv<pads=[1,1,1,1]>(in0, w) b = Add(a, in0) out0 = Relu(b)", "float[1,32,4,4] out0"),
    "a result that is read inside": (
        "out0 = Conv<pads=[1,1,1,1]>(in0, w) s = Softmax<axis=3>(out0) out1 = ReduceSum<keepdims=0>(s, axes)",
        "float[1,32,4,4] out0, float[1,32] out1",
    ),
    "no convolution": ("out0 = Relu(in0)", "float[1,32,4,4] out0"),
    "padding at the end": (
        "a = Conv(in0, w) pads = Constant<value=int64[8]{0,0,1,1,0,0,1,1}>() out0 = Pad(a, pads)",
        "float[1,32,4,4] out0",
    ),
    "a scale at the end": (
        "a = Conv<pads=[1,1,1,1]>(in0, w) two = Constant<value=float{2.0}>() out0 = Mul(a, two)",
        "float[1,32,4,4] out0",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("blocked", [{"in0": 32}, {"out0": 32}, {"in0": 32, "out0": 32}], ids=["in", "out", "both"])
def test_the_same_is_computed(case: str, blocked: dict[str, int], tmp_path: Path) -> None:
    model = _model(*CASES[case])
    x = np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)
    expected = _run(model, x, optimised=False)
    try:
        found = layout.optimise(model, blocked, tmp_path).model
    except layout.LayoutError:
        assert case == "padding at the end"  # it becomes part of the stand-in
        return
    actual = _run(found, layout.to_blocks(x) if "in0" in blocked else x, optimised=True)
    if "out0" in blocked:
        actual[0] = layout.from_blocks(actual[0])
    for want, got in zip(expected, actual, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_a_block_has_no_conversion_left(tmp_path: Path) -> None:
    model = _model(*CASES["a block"])
    assert layout.optimise(model, {}, tmp_path).reorders == 2
    assert layout.optimise(model, {"in0": 32, "out0": 32}, tmp_path).reorders == 0


def test_what_is_handed_through_is_refused(tmp_path: Path) -> None:
    model = _model("out0 = Identity(in0)", "float[1,32,4,4] out0")
    with pytest.raises(layout.LayoutError):
        layout.optimise(model, {"in0": 32, "out0": 32}, tmp_path)


def test_blocks_and_back() -> None:
    x = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    moved = layout.to_blocks(x)
    assert not np.array_equal(moved, x)
    np.testing.assert_array_equal(layout.from_blocks(moved), x)
