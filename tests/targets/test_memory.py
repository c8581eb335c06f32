"""The memory that results are written to: used again, and never while somebody can see a result."""

from __future__ import annotations

import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dycl.ir.nodes import CallModule
from dycl.ir.values import Lit, SubgraphId, TensorType

WIDTHS = {"small": 8, "big": 1 << 17}


def _floats(*shape: int) -> TensorType:
    """The type of a result; one whose rank is not told is never bound to memory."""
    return TensorType("float32", shape)


@pytest.fixture(params=sorted(WIDTHS))
def double(request, builder, make):
    """A subgraph that doubles its input, with a result that is bound or one that shares memory."""
    b = builder("00_double")
    width = WIDTHS[request.param]
    built = make(b.done(b.op("torch.mul", b.tensor(1, width), Lit(2.0), out=(_floats(1, width),))))
    return built.runtime.subgraph("00_double"), np.ones((1, width), np.float32)


def test_memory_is_used_again_once_nobody_sees_it(double) -> None:
    call, x = double
    addresses = {call(x).ctypes.data for _ in range(20)}
    assert len(addresses) == 1


def test_a_result_that_is_held_never_changes(double) -> None:
    call, x = double
    held = [call(x * n) for n in range(40)]
    assert [float(result[0, -1]) for result in held] == [2.0 * n for n in range(40)]
    assert len({result.ctypes.data for result in held}) == 40


def test_views_and_tensors_hold_a_result(double) -> None:
    call, x = double
    view, tensor, memory = call(x)[:, 1:], torch.from_numpy(call(x * 2)), memoryview(call(x * 3))
    for _ in range(20):
        call(x * 7)
    assert (float(view[0, 0]), float(tensor[0, 0]), memory[0, 0]) == (2.0, 4.0, 6.0)


@pytest.mark.parametrize("name", ["shape", "dtype"])
def test_a_result_that_was_reshaped_in_place_is_not_handed_out_again(double, name: str) -> None:
    call, x = double
    result = call(x)
    setattr(result, name, {"shape": (x.size,), "dtype": np.int32}[name])
    del result
    assert (call(x).shape, call(x).dtype) == (x.shape, x.dtype)


@pytest.mark.parametrize("is_bound", [True, False])
def test_a_result_that_was_reshaped_in_place_is_taken_as_it_is(builder, make, is_bound: bool) -> None:
    """Of an input of any size, ONNX Runtime would not tell that it is bound to what the array was before."""
    first, second = builder("00_made"), builder("01_first_row")
    subgraph = first.done(first.op("torch.mul", first.tensor(2, 8), Lit(2.0), out=(_floats(2, 8),)))
    x = second.tensor("rows", "columns")
    row = second.op("torch.Tensor.narrow", x, Lit(0), Lit(0), Lit(1), out=(TensorType("float32", (1, "columns")),))
    result = second.op("torch.sum", row, (0, 1), keepdim=Lit(True), out=(_floats(1, 1),)) if is_bound else row
    runtime = make(subgraph, replace(second.done(result), id=SubgraphId(1))).runtime
    made, first_row = runtime.subgraph("00_made"), runtime.subgraph("01_first_row")
    y = made(np.arange(16, dtype=np.float32).reshape(2, 8))
    for shape in [(2, 8), (4, 4), (8, 2), (1, 16)]:
        y.shape = shape
        assert np.sum(first_row(y)) == y[0].sum()


def test_a_result_goes_around_a_loop(double) -> None:
    """Input and result are never the same memory."""
    call, x = double
    for _ in range(10):
        x = call(x)
    assert float(x[0, 0]) == 1024.0


def test_somebody_elses_array_may_be_freed_and_its_place_taken(double) -> None:
    call, x = double
    for n in range(50):
        assert float(call(np.full_like(x, n))[0, 0]) == 2.0 * n


def test_arrays_of_other_sizes_and_layouts(builder, make) -> None:
    """Small ones are copied to memory that stays bound; who comes first says of which size."""
    b = builder("00_sum")
    x, y = b.tensor("u0", 3), b.tensor("u0", 3)
    built = make(b.done(b.op("torch.sub", x, y)))
    call, made = built.runtime.subgraph("00_sum"), np.random.default_rng(0)
    held = []
    for size in (2, 2, 5, 1, 2000, 2, 0, 5):
        one, other = (made.standard_normal((3, size)).astype(np.float32).T for _ in range(2))
        kept = one.copy()
        held.append((call(one, np.ascontiguousarray(other)), one - other))
        held.append((call(one, one), np.zeros_like(one)))
        np.testing.assert_array_equal(one, kept)
    same = np.ones((2, 3), np.float32)
    held.append((call(same, held[0][0]), same - held[0][1]))
    for found, expected in held:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("width", [8, 1 << 11])
def test_an_input_that_comes_from_several_places(builder, make, width: int) -> None:
    """After some calls small ones are copied, and nothing that was handed out changes by that."""
    first, second = builder("00_made"), builder("01_negative")
    out = (_floats(1, width),)
    subgraph = first.done(first.op("torch.mul", first.tensor(1, width), Lit(2.0), out=out))
    other = second.done(second.op("torch.neg", second.tensor(1, width), out=out))
    runtime = make(subgraph, replace(other, id=SubgraphId(1))).runtime
    made, negative = runtime.subgraph("00_made"), runtime.subgraph("01_negative")
    held = [made(np.full((1, width), n, np.float32)) for n in range(5)]
    reshaped = made(np.full((1, width), 7, np.float32))
    reshaped.dtype = np.int32
    for n in [*range(5), *range(5), 3, 3, 3, 0, 1] * 2:
        assert (negative(held[n]) == -2.0 * n).all()
        assert (negative(np.full((1, 2 * width), n, np.float32)[:, ::2]) == -n).all()
        with pytest.raises(Exception, match=r"int32"):
            negative(reshaped)
        with pytest.raises(Exception, match=r"(?i)dimension"):
            negative(np.ones((1, 1), np.float32))  # numpy would make it as long as the input
        assert (negative(negative(held[n])) == 2.0 * n).all()
    assert [float(each[0, -1]) for each in held] == [2.0 * n for n in range(5)]


def test_several_results_and_numbers(builder, make) -> None:
    b = builder("00_both")
    x, s = b.tensor(2, 3), b.scalar(float)
    out = (_floats(2, 3),)
    built = make(b.done(b.op("torch.mul", x, s, out=out), b.op("torch.add", x, s, out=out)))
    call = built.runtime.subgraph("00_both")
    held = [call(np.ones((2, 3), np.float32), float(n)) for n in range(12)]
    for n, (product, total) in enumerate(held):
        assert (float(product[1, 2]), float(total[0, 0])) == (n, n + 1.0)


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_memory_of_several_results_is_used_again(builder, make, width) -> None:
    b = builder("00_both")
    x = b.tensor(1, width)
    out = (_floats(1, width),)
    results = (b.op("torch.mul", x, Lit(2.0), out=out), b.op("torch.add", x, Lit(1.0), out=out), b.op("torch.sum", x))
    call = make(b.done(*results)).runtime.subgraph("00_both")
    given = np.ones((1, width), np.float32)
    addresses = {result.ctypes.data for _ in range(20) for result in call(given)}
    assert len(addresses) <= 2 * len(results)  # the last result is held while the next call begins


def test_an_error_leaves_the_call_as_it_was(double) -> None:
    call, x = double
    for _ in range(20):
        with pytest.raises(Exception, match=r"."):
            call(x.astype(np.int64))
    assert float(call(x)[0, 0]) == 2.0


def test_threads_have_memory_of_their_own(builder, make) -> None:
    module = nn.Linear(64, 64)
    b = builder("00_net")
    built = make(b.done(b.op(CallModule("net"), b.tensor(1, 64), out=(_floats(1, 64),))), modules={"net": module})
    call = built.runtime.subgraph("00_net")
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(300):
            x = rng.standard_normal((1, 64)).astype(np.float32)
            first = call(x)
            second = call(first)
            expected = x @ weight + bias
            if not np.allclose(first, expected, atol=1e-4) or not np.allclose(
                second, expected @ weight + bias, atol=1e-4
            ):
                wrong.append(seed)

    weight, bias = module.weight.detach().numpy().T, module.bias.detach().numpy()
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.fixture(params=sorted(WIDTHS))
def places(request, builder, make):
    """A subgraph with a result of known size, one whose size depends on the data, and another of known size."""
    b = builder("00_places")
    x = b.tensor(1, WIDTHS[request.param])
    known, unknown = (_floats(1, WIDTHS[request.param]),), (TensorType("int64", ("u0", 2)),)
    results = b.op("torch.mul", x, Lit(2.0), out=known), b.op("torch.nonzero", x, out=unknown), b.op("torch.sum", x)
    return make(b.done(*results)).runtime.subgraph("00_places"), WIDTHS[request.param]


def test_a_result_of_unknown_size_is_new_in_each_call(places) -> None:
    call, width = places
    held = []
    for count in (0, 3, 8, 1, 0, 5):
        x = np.zeros((1, width), np.float32)
        x[0, :count] = 1
        held.append((count, call(x)))
    for count, (double, found, total) in held:
        assert found.tolist() == [[0, place] for place in range(count)]
        assert (float(double.sum()), float(total)) == (2.0 * count, count)


def test_a_result_of_unknown_size_is_handed_on_and_freed(places) -> None:
    call, width = places
    x = np.ones((1, width), np.float32)
    found = call(x)[1]
    reference = weakref.ref(found)
    del found
    assert reference() is None
    with pytest.raises(Exception, match=r"."):
        call(x.astype(np.int64))
    assert call(x)[1].shape == (width, 2)
