"""TVM's schedule rules: which rule takes what, and that the results are those of the ONNX standard."""

from __future__ import annotations

import importlib.metadata
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

pytest.importorskip("tvm")

from tvm.relax.frontend.onnx import from_onnx

from dycl.targets.tvm.constants import fold_constants
from dycl.targets.tvm.kernels import build_object, link_objects, schedule_kernel
from dycl.targets.tvm.lower import lower_model
from dycl.targets.tvm.model import prepare_model
from dycl.targets.tvm.pipeline import build_module
from dycl.targets.tvm.processor import find_processor
from dycl.targets.tvm.runtime import Runtime, aligned

X = ("x", (1, 8, 16, 16))
CONVOLUTION = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
# result: the operator, its inputs (name, shape), its attributes, the rule that shall take it
CASES: dict[str, tuple[str, tuple[tuple[str, tuple[int, ...]], ...], dict[str, Any], str]] = {
    "rows": ("Conv", (X, ("w0", (8, 8, 3, 3)), ("b", (8,))), CONVOLUTION, "over_width"),
    "pointwise": ("Conv", (X, ("w1", (12, 8, 1, 1))), {"kernel_shape": [1, 1]}, "over_width"),
    "steps": ("Conv", (X, ("w2", (16, 8, 3, 3))), CONVOLUTION | {"strides": [2, 2]}, "over_channels"),
    "narrow": ("Conv", (("y", (2, 4, 7, 7)), ("w3", (24, 4, 3, 3))), {"kernel_shape": [3, 3]}, "over_channels"),
    "dilated": ("Conv", (X, ("w4", (8, 8, 3, 3))), CONVOLUTION | {"dilations": [2, 2]}, "over_channels"),
    "depthwise": ("Conv", (X, ("w5", (8, 1, 3, 3))), CONVOLUTION | {"group": 8}, "depthwise"),
    "grouped": ("Conv", (X, ("w6", (4, 4, 3, 3))), CONVOLUTION | {"group": 2}, ""),
    "dense": ("Gemm", (("z", (3, 20)), ("v", (24, 20)), ("c", (24,))), {"transB": 1}, "product"),
    "batched": ("MatMul", (("p", (2, 5, 12)), ("q", (2, 12, 16))), {}, "product"),
    "odd": ("MatMul", (("r", (3, 7)), ("s", (7, 5))), {}, "product"),
    "sum": ("ReduceSum", (("t", (6, 64)),), {"keepdims": 0}, "reductions"),
    "softmax": ("Softmax", (("u", (4, 24)),), {"axis": 1}, "reductions"),
    "pool": ("MaxPool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, "reductions"),
    "sigmoid": ("Sigmoid", (("u", (4, 24)),), {}, "elementwise"),
    "turned": ("Transpose", (("t", (6, 64)),), {"perm": [1, 0]}, "elementwise"),
}
EXTREMES = {"relu": "Relu", "largest": "ReduceMax", "where": "ArgMax", "smallest": "ArgMin"}


def build(nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, ...]], outputs: list[str]) -> Any:
    """The rules by function, and the model as a function of arrays, beside the reference."""
    integers = ("where", "smallest")
    graph = helper.make_graph(
        nodes,
        "rules",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [
            helper.make_tensor_value_info(name, TensorProto.INT64 if name in integers else TensorProto.FLOAT, None)
            for name in outputs
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    rules, call = load(model)

    def run(**given: np.ndarray) -> dict[str, np.ndarray]:
        returned = call(*(aligned(given[name]) for name in inputs))
        return dict(zip(outputs, (returned,) if len(outputs) == 1 else returned, strict=True))

    return rules, run, ReferenceEvaluator(model)


def load(model: onnx.ModelProto, weights: tuple[str, ...] = ()) -> tuple[set[str], Any]:
    """The rules that have taken its kernels, and the model as a function of aligned arrays.

    `weights`: initializers that are not part of what is compiled.
    """
    processor = find_processor("")
    lowered = lower_model(prepare_model(model, list(weights)), processor)
    scheduled = [schedule_kernel(kernel, processor) for kernel in lowered.kernels]
    rules = {str(function.attrs["dycl.rule"]) for function in scheduled if "dycl.rule" in function.attrs}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.vm").write_bytes(lowered.code)
        (Path(folder) / "kernels.so").write_bytes(link_objects([build_object(scheduled, processor)]))
        settings = {"library": "kernels.so", "machine": platform.machine(), "features": []}
        if lowered.preparation is not None:
            (Path(folder) / "model.json").write_text(lowered.preparation)
            settings["preparation"] = "model.json"
        entry = {
            "file": "model.vm",
            "inputs": [
                {
                    "name": value.name,
                    "dtype": "float32",
                    "shape": [size.dim_value for size in value.type.tensor_type.shape.dim],
                }
                for value in model.graph.input
            ],
            "outputs": [None for _ in model.graph.output],
            "weights": list(weights),
            "settings": settings | {"tvm": importlib.metadata.version("apache-tvm")},
        }
        stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer if item.name in weights}
        places = np.cumsum([0, *(array.nbytes for array in stored.values())]).tolist()
        (Path(folder) / "weights.bin").write_bytes(b"".join(array.tobytes() for array in stored.values()))
        manifest = {
            "subgraphs": {"model": entry},
            "weights": {
                name: {"dtype": str(array.dtype), "shape": list(array.shape), "offset": place}
                for (name, array), place in zip(stored.items(), places, strict=False)
            },
        }
        return rules, Runtime(folder, threads=1, manifest=manifest).subgraph("model")


@pytest.mark.parametrize("result", CASES)
def test_a_rule_takes_it_and_is_right(result: str) -> None:
    operator, inputs, attributes, rule = CASES[result]
    node = helper.make_node(operator, [name for name, _ in inputs], [result], **attributes)
    rules, run, reference = build([node], dict(inputs), [result])
    assert not rule or rule in rules
    random = np.random.default_rng(0)
    given = {name: random.standard_normal(shape).astype(np.float32) for name, shape in inputs}
    (expected,) = reference.run(None, given)
    np.testing.assert_allclose(run(**given)[result], expected, rtol=1e-4, atol=1e-5)


def test_each_of_several_results_runs_in_vectors() -> None:
    split = helper.make_node("Split", ["u"], ["left", "right"], axis=1, num_outputs=2)
    rules, run, reference = build([split], {"u": (4, 24)}, ["left", "right"])
    assert rules == {"elementwise"}
    given = np.random.default_rng(0).standard_normal((4, 24)).astype(np.float32)
    for found, expected in zip(run(u=given).values(), reference.run(None, {"u": given}), strict=True):
        np.testing.assert_array_equal(found, expected)


def convolutions(*channels: int, rows: int = 8, filters: int = 8) -> tuple[list[Any], dict[str, tuple[int, ...]]]:
    """A convolution for each number of channels, and the shapes of the inputs."""
    inputs: dict[str, tuple[int, ...]] = {}
    nodes = []
    for index, count in enumerate(channels):
        inputs |= {f"x{index}": (1, count, rows, rows), f"w{index}": (filters, count, 3, 3)}
        nodes.append(helper.make_node("Conv", [f"x{index}", f"w{index}"], [f"y{index}"], **CONVOLUTION))
    return nodes, inputs


def kernels_of(nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, ...]], *, exact: bool = False) -> list[Any]:
    """The kernels of convolutions, scheduled."""
    graph = helper.make_graph(
        nodes,
        "kernels",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None) for node in nodes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    processor = find_processor("")
    lowered = lower_model(prepare_model(model, []), processor, exact=exact)
    return [schedule_kernel(kernel, processor) for kernel in lowered.kernels if "conv2d" in kernel.symbol]


def test_convolutions_of_different_numbers_of_channels_are_one_kernel() -> None:
    """One of them has as many channels as it has rows, columns and filters: what is as large stays as large."""
    nodes, inputs = convolutions(8, 12, 9)
    (kernel,) = kernels_of(nodes, inputs)
    shapes = [[str(size) for size in buffer.shape] for buffer in kernel.params]
    assert ["T.int64(8)" in sizes for sizes in shapes] == [True, True, True]
    assert len({sizes[place] for sizes, place in zip(shapes[:2], (1, 0), strict=True)}) == 1
    assert len(kernels_of(nodes, inputs, exact=True)) == 3
    _, run, reference = build(nodes, inputs, [node.output[0] for node in nodes])
    random = np.random.default_rng(0)
    given = {name: random.standard_normal(shape).astype(np.float32) for name, shape in inputs.items()}
    for found, expected in zip(run(**given).values(), reference.run(None, given), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_as_many_kernels_as_there_are_ways_to_use_threads() -> None:
    """64 pixels, 8 filters, 9 weights: from 8 channels on the sum is worth threads, from 328 on the padding too."""
    assert len(kernels_of(*convolutions(2, 7))) == 1
    few, some, many = (kernels_of(*convolutions(count))[0].script().count("T.parallel(") for count in (7, 8, 328))
    assert (few, some, many) == (0, 1, 2)
    assert len(kernels_of(*convolutions(7, 8, 327, 328))) == 3


def test_what_no_rule_takes_keeps_its_number_of_channels() -> None:
    nodes, inputs = convolutions(6, 10, rows=7, filters=3)
    assert len(kernels_of(nodes, inputs)) == 2


def test_padding_is_zeros_and_a_copy() -> None:
    """A condition for each element took as long as a small convolution, in the compile too."""
    (kernel,) = kernels_of(*convolutions(8))
    assert "if_then_else" not in kernel.script()


def test_tiles_are_on_the_stack() -> None:
    """TVM would ask its runtime for each, and LLVM would not know that nobody else writes there."""
    nodes, inputs = convolutions(8)
    del nodes[0].attribute[:]
    (kernel,) = kernels_of(nodes, inputs)
    import tvm

    module = tvm.IRModule({str(kernel.attrs["global_symbol"]): kernel})
    assert "AllocWorkspace," not in build_module(module, find_processor("").target()).inspect_source("ll")


def test_a_constant_gets_its_shape_here() -> None:
    """Relax would compile a kernel for it, and run that, for each constant."""
    random = np.random.default_rng(0)
    constants = {"w": random.standard_normal((12, 8, 3, 3)), "b": random.standard_normal(12)}
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[3, 3])
    model = with_weights([node], {name: array.astype(np.float32) for name, array in constants.items()})
    imported = from_onnx(model, keep_params_in_input=False)
    assert "R.reshape(" in imported.script()
    assert "R.reshape(" not in fold_constants(imported).script()
    _, call = load(model)
    x = random.standard_normal(X[1]).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(call(aligned(x)), expected, rtol=1e-4, atol=1e-4)


def with_weights(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A model of an image, with these weights, among them constants that the nodes name."""
    graph = helper.make_graph(
        nodes,
        "weights",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X[1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def normalised(random: np.random.Generator) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """A convolution with normalisation, and a product with a weight that is turned, cut and widened."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"]),
        helper.make_node("Gather", ["t", "rows"], ["some"], axis=0),
        helper.make_node("Cast", ["some"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["n", "turned"], ["y"]),
    ]
    numbers = {name: random.standard_normal(12).astype(np.float32) for name in "gbm"}
    weights = {"w": random.standard_normal((12, 8, 3, 3)).astype(np.float32), **numbers}
    weights |= {"v": random.random(12).astype(np.float32), "t": random.standard_normal((9, 14))}
    return nodes, weights | {"rows": np.array([0, 5, -1, 3])}


def test_work_on_weights_alone_is_no_kernel() -> None:
    random = np.random.default_rng(0)
    nodes, weights = normalised(random)
    model = with_weights(nodes, weights)
    names = tuple(name for name in weights if name != "rows")
    lowered = lower_model(prepare_model(model, names), find_processor(""))
    assert lowered.preparation is not None
    assert all(kernel.repeats for kernel in lowered.kernels)
    assert "main_transform_params" not in lowered.code.decode(errors="ignore")
    _, call = load(model, names)
    x = random.standard_normal(X[1]).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(call(aligned(x)), expected, rtol=1e-4, atol=1e-4)


def test_work_on_weights_that_numpy_has_no_step_for_is_left_to_tvm() -> None:
    nodes = [
        helper.make_node("Exp", ["w"], ["e"]),
        helper.make_node("Conv", ["x", "e"], ["y"], kernel_shape=[3, 3]),
    ]
    random = np.random.default_rng(0)
    model = with_weights(nodes, {"w": random.standard_normal((12, 8, 3, 3)).astype(np.float32)})
    lowered = lower_model(prepare_model(model, ["w"]), find_processor(""))
    assert lowered.preparation is None
    assert not all(kernel.repeats for kernel in lowered.kernels)
    _, call = load(model, ("w",))
    x = random.standard_normal(X[1]).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(call(aligned(x)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("index", [1, -1])
def test_a_constant_index_is_not_computed(index: int) -> None:
    """TVM's importer asks whether it is negative; the answer is known, so nothing is compiled to find it."""
    node = helper.make_node("Gather", ["x", "index"], ["y"], axis=1)
    graph = helper.make_graph(
        [node],
        "index",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2,))],
        [numpy_helper.from_array(np.array(index), "index")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    imported = from_onnx(model, keep_params_in_input=False)
    assert "R.less" in imported.script()
    folded = fold_constants(imported).script()
    assert not any(f"R.{name}(" in folded for name in ("less", "where", "add", "shape_to_tensor"))
    _, call = load(model)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(call(aligned(x)), x[:, index])


def test_a_size_of_run_time_stays() -> None:
    imported = from_onnx(_shape_model(), keep_params_in_input=False)
    assert "R.shape_to_tensor" in fold_constants(imported).script()


def _shape_model() -> onnx.ModelProto:
    """The last row of a matrix that has as many as the caller says."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["x", "index"], ["y"], axis=0)],
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (3,))],
        [numpy_helper.from_array(np.array(-1), "index")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_what_is_no_number_or_infinite() -> None:
    nodes = [helper.make_node(operator, ["x"], [name]) for name, operator in EXTREMES.items()]
    for node in nodes[2:]:
        node.attribute.append(helper.make_attribute("axis", 1))
    _, run, _ = build(nodes, {"x": (3, 16)}, list(EXTREMES))
    x = np.zeros((3, 16), np.float32)
    x[0], x[1] = -np.inf, np.inf
    found = run(x=x)
    assert found["largest"].max() == np.inf
    assert found["where"].ravel().tolist() == [0, 0, 0]
    assert found["smallest"].ravel().tolist() == [0, 0, 0]
    assert run(x=np.full((3, 16), -np.inf, np.float32))["largest"].max() == -np.inf
    x[2, 5] = np.nan
    assert np.isnan(run(x=x)["relu"][2, 5])


def test_of_two_that_are_no_number() -> None:
    """Neither is lost, in whatever place."""
    constants = [
        helper.make_node("Constant", [], [name], value_float=value) for name, value in (("lo", -1.0), ("hi", 1.0))
    ]
    nodes = [
        *constants,
        helper.make_node("Max", ["x", "z"], ["larger"]),
        helper.make_node("Min", ["x", "z"], ["smaller"]),
        helper.make_node("Clip", ["x", "lo", "hi"], ["clipped"]),
    ]
    _, run, reference = build(nodes, {"x": (16,), "z": (16,)}, ["larger", "smaller", "clipped"])
    x = np.array([np.nan, 1, np.nan, 2, -np.inf, np.inf, 0, -3] * 2, np.float32)
    z = np.array([1, np.nan, np.nan, -2, np.inf, np.inf, 5, -4] * 2, np.float32)
    found = run(x=x, z=z)
    for name, expected in zip(("larger", "smaller", "clipped"), reference.run(None, {"x": x, "z": z}), strict=True):
        np.testing.assert_array_equal(found[name], expected, name)


@pytest.mark.parametrize("operator", ["Exp", "Sigmoid", "Tanh", "Erf"])
def test_functions_are_as_exact_as_float32(operator: str) -> None:
    """Also where the result is infinite, nearly nothing, or no number."""
    torch = pytest.importorskip("torch")
    extremes = [-np.inf, np.inf, np.nan, 0.0, -0.0, 88.72284, -103.9]
    x = np.concatenate([np.linspace(-110, 100, 4000), np.linspace(-2, 2, 1000), extremes, [0.0]]).astype(np.float32)
    _, run, _ = build([helper.make_node(operator, ["x"], ["y"])], {"x": x.shape}, ["y"])
    expected = getattr(torch, operator.lower())(torch.from_numpy(x).double()).float().numpy()
    found = run(x=x)["y"]
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=4e-7, atol=1e-38)
