"""Subgraphs through export, ONNX Runtime and back: what comes out is what torch computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from dycl.diagnostics import TargetError
from dycl.ir.nodes import CallModule
from dycl.ir.values import Lit, Seq, SeqKind, SliceOf, TensorType, TorchLit, Weight
from dycl.targets.samples import export_inputs
from tests.graphs import read_graphs

ANY = TensorType("float32", ())
BOTH = [ANY, ANY]


def close(actual: Any, expected: torch.Tensor) -> None:
    want = expected.detach().numpy()
    assert isinstance(actual, np.ndarray)
    assert (actual.dtype, actual.shape) == (want.dtype, want.shape)
    np.testing.assert_allclose(actual, want, rtol=1e-4, atol=1e-5)


class Net(nn.Module):
    """Convolution, batch norm with statistics, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


MODULES: list[tuple[nn.Module, tuple[int | str, ...], tuple[int, ...], str]] = [
    (Net(), (1, 3, 8, 8), (1, 3, 8, 8), "float32"),
    (Net(), ("batch", 3, "h", "w"), (2, 3, 9, 5), "float32"),
    (Attention(), (2, 5, 8), (2, 5, 8), "float32"),
    (Attention(), ("batch", "length", 8), (3, 1, 8), "float32"),
    (nn.Embedding(10, 4), ("batch", 5), (0, 5), "int64"),
    (nn.LayerNorm(8), ("batch", 8), (3, 8), "float32"),
    (nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Dropout(0.5)), ("batch", 4), (1, 4), "float32"),
]


@pytest.mark.parametrize(("module", "shape", "concrete", "dtype"), MODULES)
def test_module(builder, make, module, shape, concrete, dtype) -> None:
    module.eval()
    b = builder()
    y = b.op(CallModule("net"), b.tensor(*shape, dtype=dtype))
    built = make(b.done(y), modules={"net": module})
    x = torch.randn(concrete) if dtype == "float32" else torch.randint(0, 10, concrete)
    close(built.run(x.numpy()), module(x))
    assert built.compiled.subgraphs[0].samples > 0


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU])
def test_recurrent_layers_of_a_known_and_of_a_run_time_length(builder, make, layer) -> None:
    """A trace of the known length must not fix the run-time one: torch caches the kernel of the first."""
    module = layer(4, 5, batch_first=True).eval()
    for length in (4, "length"):
        b = builder()
        results = b.op(CallModule("rnn"), b.tensor(2, length, 4), out=[ANY] * (3 if layer is nn.LSTM else 2))
        built = make(b.done(results[0], results[1]), modules={"rnn": module})
        x = torch.randn(2, 4 if length == 4 else 9, 4)
        out, state = module(x)
        close(built.run(x.numpy())[0], out)
        close(built.run(x.numpy())[1], state[0] if layer is nn.LSTM else state)


def test_mutation_of_a_parameter_through_a_view_leaves_the_callers_array_alone(builder, make) -> None:
    b = builder()
    x = b.tensor(2, 3)
    row = b.op("torch.Tensor.select", x, 0, 0)
    _, row, x = b.op("torch.Tensor.add_", row, 1.0, mutates=[row, x])
    y = b.op("torch.mul", x, 2.0)
    built = make(b.done(row, x, y))
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    kept = given.copy()
    out_row, out_x, out_y = built.run(given)
    np.testing.assert_array_equal(given, kept)
    np.testing.assert_array_equal(out_row, kept[0] + 1)
    np.testing.assert_array_equal(out_x, kept + np.array([[1], [0]], np.float32))
    np.testing.assert_array_equal(out_y, out_x * 2)


def test_write_by_index(builder, make) -> None:
    b = builder()
    x, index = b.tensor(4, 3), b.tensor(2, dtype="int64")
    x = b.op("torch.Tensor.index_put_", x, (index,), Weight("w"), out=[ANY], mutates=[x])[1]
    x = b.op("torch.Tensor.__setitem__", x, (0, SliceOf(Lit(1), Lit(None), Lit(None))), 7.0, out=[], mutates=[x])
    w = torch.tensor([9.0, 8.0, 6.0])
    built = make(b.done(x), weights={"w": w})
    given = torch.zeros(4, 3)
    expected = given.clone()
    expected[torch.tensor([1, 3])] = w
    expected[0, 1:] = 7
    close(built.run(given.numpy(), np.array([1, 3])), expected)


def test_outputs_that_are_inputs_weights_or_each_other(builder, make) -> None:
    b = builder()
    x = b.tensor(2, 2)
    y = b.op("torch.relu", x)
    view = b.op("torch.Tensor.view", y, 4)
    same = b.op("torch.Tensor.contiguous", Weight("w"))
    built = make(b.done(x, y, y, view, same, x), weights={"w": torch.tensor([1.0, 2.0])})
    given = np.array([[-1, 2], [3, -4]], np.float32)
    relu = np.maximum(given, 0)
    for got, want in zip(built.run(given), (given, relu, relu, relu.reshape(4), np.array([1, 2]), given), strict=True):
        np.testing.assert_array_equal(got, want)


def test_results_keep_their_order_and_pick_from_what_a_call_returns(builder, make) -> None:
    b = builder()
    values, indices = b.op("torch.sort", b.tensor("n", 4), out=BOTH, dim=Lit(1), descending=Lit(True))
    built = make(b.done(indices, values))
    x = torch.randn(3, 4)
    got = built.run(x.numpy())
    np.testing.assert_array_equal(got[0], x.sort(dim=1, descending=True).indices.numpy())
    close(got[1], x.sort(dim=1, descending=True).values)


def test_sizes_that_depend_on_data(builder, make) -> None:
    b = builder()
    x, mask = b.tensor("n", 3), b.tensor("n", dtype="bool")
    picked = b.op("torch.Tensor.__getitem__", x, mask)
    built = make(b.done(picked))
    given = np.arange(12, dtype=np.float32).reshape(4, 3)
    for mask_value in ([True, False, True, True], [False] * 4):
        np.testing.assert_array_equal(built.run(given, np.array(mask_value)), given[np.array(mask_value)])


# ---------------------------------------------------------------- host scalars

ARITHMETIC = ["mul", "add", "sub", "rsub", "true_divide", "floor_divide", "remainder", "pow", "gt", "ge", "eq"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_a_float_means_what_pythons_float_means_in_torch(builder, make, dtype) -> None:
    """0.1 is not a float32: comparisons and float64 arithmetic show whether it was rounded on the way."""
    b = builder()
    x, s = b.tensor(3, dtype=dtype), b.scalar(float)
    built = make(b.done(*(b.op(f"torch.{name}", x, s) for name in ARITHMETIC)))
    tensor = torch.tensor([0.1, 2, 3], dtype=getattr(torch, dtype))
    for name, got in zip(ARITHMETIC, built.run(tensor.numpy(), 0.1), strict=True):
        want = getattr(torch, name)(tensor, 0.1).numpy()
        assert got.dtype == want.dtype, name
        np.testing.assert_allclose(got, want, rtol=1e-15 if dtype == "float64" else 1e-6, atol=1e-15, err_msg=name)


def test_a_float_on_the_left_and_in_place(builder, make) -> None:
    b = builder()
    x, s = b.tensor(3, dtype="float64"), b.scalar(float)
    left = b.op("torch.Tensor.__rpow__", x, s)
    x = b.op("torch.Tensor.mul_", x, s, mutates=[x])[1]
    built = make(b.done(left, x))
    tensor = torch.tensor([0.5, 2, 3], dtype=torch.float64)
    got = built.run(tensor.numpy(), 0.1)
    np.testing.assert_allclose(got[0], (0.1**tensor).numpy(), rtol=1e-15)
    np.testing.assert_allclose(got[1], (tensor * 0.1).numpy(), rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_floor_division_and_remainder_are_exact(builder, make, dtype) -> None:
    """2.0 // 0.1 is 19, not 20: the quotient must not be rounded before it is floored."""
    b = builder()
    x, y = b.tensor(8, dtype=dtype), b.tensor(8, dtype=dtype)
    results = [
        b.op("torch.floor_divide", x, y),
        b.op("torch.remainder", x, y),
        b.op("torch.div", x, y, rounding_mode=Lit("floor")),
        b.op("torch.remainder", x, 2 if dtype == "int64" else 0.1),
    ]
    changed = b.op("torch.Tensor.floor_divide_", x, 3 if dtype == "int64" else 0.3, mutates=[x])[1]
    built = make(b.done(*results, changed))
    a = torch.tensor([2.0, -2, 6, 7, -7, 7, -7, 0] if dtype != "int64" else [2, -2, 6, 7, -7, 7, -7, 0])
    d = torch.tensor([0.1, 0.1, 0.3, 2, 2, -2, -2, 5] if dtype != "int64" else [1, 1, 3, 2, 2, -2, -2, 5])
    a, d = a.to(getattr(torch, dtype)), d.to(getattr(torch, dtype))
    constant, divisor = (2, 3) if dtype == "int64" else (0.1, 0.3)
    expected = [a // d, a % d, torch.div(a, d, rounding_mode="floor"), a % constant, a // divisor]
    for got, want in zip(built.run(a.numpy(), d.numpy()), expected, strict=True):
        assert got.dtype == want.numpy().dtype
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-7)


def test_a_float_literal_is_not_rounded_in_float64(builder, make) -> None:
    names = ["mul", "add", "true_divide", "lt", "pow", "fmod"]
    b = builder()
    x = b.tensor(3, dtype="float64")
    built = make(b.done(*(b.op(f"torch.{name}", x, 0.1) for name in names)))
    tensor = torch.tensor([0.1, 0.10000000149, 3], dtype=torch.float64)
    for name, got in zip(names, built.run(tensor.numpy()), strict=True):
        want = getattr(torch, name)(tensor, 0.1).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-15, atol=1e-16, err_msg=name)


@pytest.mark.parametrize("k", [-2, 0, 1, 4, 9])
def test_an_int_slices_as_in_python(builder, make, k) -> None:
    b = builder()
    x, s = b.tensor("n", 5), b.scalar(int)
    columns = Seq(SeqKind.TUPLE, (SliceOf(Lit(None), Lit(None), Lit(None)), SliceOf(Lit(None), s, Lit(None))))
    built = make(b.done(b.op("torch.Tensor.__getitem__", x, columns)))
    given = np.arange(10, dtype=np.float32).reshape(2, 5)
    np.testing.assert_array_equal(built.run(given, k), given[:, :k])


def test_numbers_become_tensors(builder, make) -> None:
    b = builder()
    f, i, flag = b.scalar(float), b.scalar(int), b.scalar(bool)
    results = [
        b.op("torch.full", (), f),
        b.op("torch.tensor", [f, 2.0]),
        b.op("torch.tensor", i),
        b.op("torch.arange", i),
        b.op("torch.zeros", i, 2, dtype=TorchLit("torch.int64")),
        b.op("torch.full", (2,), flag),
    ]
    built = make(b.done(*results))
    expected = [
        torch.full((), 0.1), torch.tensor([0.1, 2.0]), torch.tensor(3), torch.arange(3),
        torch.zeros(3, 2, dtype=torch.int64), torch.full((2,), True),
    ]  # fmt: skip
    for got, want in zip(built.run(0.1, 3, True), expected, strict=True):
        assert got.dtype == want.numpy().dtype
        np.testing.assert_array_equal(got, want.numpy())


# ---------------------------------------------------------------- refusals


def refused(make: Any, subgraph: Any, **environment: Any) -> TargetError:
    with pytest.raises(TargetError) as caught:
        make(subgraph, **environment)
    assert caught.value.code == "DY401"
    assert "00_test" in caught.value.message
    assert caught.value.loc.line == 7
    return caught.value


def test_refuses_bfloat16_by_name(builder, make) -> None:
    b = builder()
    assert "bfloat16" in refused(make, b.done(b.op("torch.relu", b.tensor(2, dtype="bfloat16")))).message


def test_complex_numbers_stay_inside(builder, make) -> None:
    b = builder()
    spectrum = b.op("torch.fft.rfft", b.tensor(2, 8), out=[TensorType("complex64", (2, 5))])
    built = make(b.done(b.op("torch.abs", spectrum)))
    x = torch.randn(2, 8)
    close(built.run(x.numpy()), torch.fft.rfft(x).abs())
    b = builder()
    spectrum = b.op("torch.fft.rfft", b.tensor(2, 8), out=[TensorType("complex64", (2, 5))])
    assert "complex64" in refused(make, b.done(spectrum)).message


def test_refuses_bfloat16_weights(builder, make) -> None:
    b = builder()
    y = b.op("torch.add", b.tensor(2), Weight("w"))
    assert "bfloat16" in refused(make, b.done(y), weights={"w": torch.zeros(2, dtype=torch.bfloat16)}).message


def test_refuses_an_operation_without_a_conversion(builder, make) -> None:
    b = builder()
    assert "lgamma" in refused(make, b.done(b.op("torch.lgamma", b.tensor(3, 3)))).message


def test_refuses_random_numbers(builder, make) -> None:
    b = builder()
    assert "random" in refused(make, b.done(b.op("torch.bernoulli", b.tensor(2)))).message


def test_refuses_a_float_that_would_be_rounded(builder, make) -> None:
    b = builder()
    y = b.op("torch.clamp", b.tensor(2, dtype="float64"), b.scalar(float))
    assert "float32" in refused(make, b.done(y)).message


def test_refuses_a_write_into_a_buffer(builder, make) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("n", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.n.view(1).add_(1)
            return x * self.n

    b = builder()
    module = Counting()
    refused(make, b.done(b.op(CallModule("m"), b.tensor(2))), modules={"m": module})
    assert module.n.item() == 0


def test_refuses_sizes_of_other_names_that_torch_wants_equal(builder, make) -> None:
    b = builder()
    refused(make, b.done(b.op("torch.add", b.tensor("a", 3), b.tensor("b", 3))))


def test_a_wrong_model_is_found(builder, make, monkeypatch) -> None:
    """The check reports numbers: here the export of another function stands in for a wrong exporter."""
    from dycl.targets.onnx import binding

    original = binding.export

    def wrong(*given: Any) -> Any:
        exported = original(*given)
        for node in exported.model.graph.node:
            node.op_type = {"Cos": "Sin"}.get(node.op_type, node.op_type)
        return exported

    monkeypatch.setattr(binding, "export", wrong)
    b = builder()
    with pytest.raises(TargetError, match="instead of") as caught:
        make(b.done(b.op("torch.cos", b.tensor(4))))
    assert caught.value.code == "DY402"


def test_the_model_holds_no_trace_of_this_machine(builder, make) -> None:
    b = builder()
    y = b.op(CallModule("net"), b.tensor("batch", 3, 8, 8))
    built = make(b.done(y), modules={"net": Net().eval()})
    data = built.runtime.model("00_test")
    for trace in (str(Path.home()), "site-packages", "torch", ".py", "0x"):
        assert trace.encode() not in data
    model = onnx.load_from_string(data)
    assert [p.name for p in model.graph.input] == ["in0"]
    assert [p.name for p in model.graph.output] == ["out0"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


INDEXED = [
    (lambda x, i: x[i], {"Gather"}),
    (lambda x, i: x[:, i], {"Gather"}),
    (lambda x, i: x[i.view(-1, 1)], {"Gather", "Reshape"}),
    (lambda x, i: x.index_add(0, i, x[i]), {"Gather", "ScatterND", "Unsqueeze"}),
]


class Indexed(nn.Module):
    def __init__(self, look) -> None:
        super().__init__()
        self.look = look

    def forward(self, x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
        return self.look(x, i)


@pytest.mark.parametrize(("look", "operators"), INDEXED)
def test_one_index_is_one_look_up(builder, make, look, operators) -> None:
    """Whatever the conversion rule writes around it."""
    b = builder()
    y = b.op(CallModule("net"), b.tensor(6, 6), b.tensor("u0", dtype="int64"))
    built = make(b.done(y), modules={"net": Indexed(look)})
    found = read_graphs(built.directory)["00_test"]
    kinds = {node.op_type for node in found.graph.node} - {"Constant"}
    adds = "ScatterND" in operators  # index_add: what it adds is brought to its own size, and no index is below 0
    assert not kinds & {"Transpose", "GatherND", "Max"} if adds else kinds == operators
    x = torch.randn(6, 6)
    for index in ([0, 5, 2], [2, 2], []) if adds else ([0, 5, 2], [-1, 3], [-6], []):
        i = torch.tensor(index, dtype=torch.int64)
        close(built.run(x.numpy(), i.numpy()), look(x, i))
    with pytest.raises(Exception, match=r"."):
        built.run(x.numpy(), np.array([6]))


@pytest.mark.parametrize("start", [None, 7])
def test_inputs_to_export_with_reach_as_far_as_a_cut(builder: Any, start: int | None) -> None:
    """Of known length, at a place that is known or that the call gives."""
    b = builder()
    rows = b.tensor("n", 4)
    place = b.scalar(int) if start is None else start
    cut = b.op("torch.narrow", rows, 0, place, 512, out=(TensorType("float32", (512, 4)),))
    x, *numbers = export_inputs(b.done(cut))
    assert x.shape[0] >= (start if start is not None else int(numbers[0])) + 512
    torch.narrow(x, 0, start if start is not None else int(numbers[0]), 512)
