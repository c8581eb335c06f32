"""Values that stay on a device between subgraphs: the same code with ONNX Runtime's CPU provider, where no GPU is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from dycl.diagnostics import UsageError
from dycl.hostgen.support import fetch
from dycl.ir.contents import read_contents
from dycl.ir.nodes import CallModule
from dycl.ir.values import Lit, TensorType
from dycl.targets.base import Options, check_device, find_target
from dycl.targets.devicearray import DeviceArray, DeviceError
from dycl.targets.onnxruntime import device as device_module
from dycl.targets.onnxruntime.device import Device
from dycl.targets.onnxruntime.runtime import Runtime

FLOATS = TensorType("float32", (2, 3))


@pytest.fixture
def open_on(make: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for a GPU and open on the processor; `host`: the results that are wanted there, by subgraph."""

    def open_(*subgraphs: Any, host: dict[str, list[int]] | None = None, lazy: bool = False, **given: Any) -> Any:
        built = make(*subgraphs, options=Options(device="cuda"), **given)
        manifest = {**built.compiled.manifest(), "device": "cuda"}
        for name, indices in (host or {}).items():
            manifest["subgraphs"][name]["settings"] = {"host": indices}
        return Runtime(built.directory, threads=1, device="cpu", lazy=lazy, manifest=manifest)

    return open_


@pytest.mark.parametrize("lazy", [False, True])
def test_a_value_stays_where_it_is_until_it_is_fetched(
    builder: Any, open_on: Any, lazy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = builder("00_double")
    runtime = open_on(b.done(b.op("torch.mul", b.tensor(2, 3), Lit(2.0), out=(FLOATS,))), lazy=lazy)
    call = runtime.subgraph("00_double")
    fetches = []
    original = DeviceArray.fetch
    monkeypatch.setattr(DeviceArray, "fetch", lambda self: fetches.append(self) or original(self))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    value = runtime.place(x)
    for _ in range(5):
        value = call(value)
    assert type(value) is DeviceArray
    assert (value.shape, value.dtype) == ((2, 3), np.dtype("float32"))
    assert fetches == []
    found = fetch(value)
    assert fetches == [value]
    np.testing.assert_array_equal(found, x * 32)
    assert fetch(value) is found  # copied once


def test_what_the_host_alone_reads_is_written_there(builder: Any, open_on: Any) -> None:
    b = builder("00_both")
    x = b.tensor(2, 3)
    results = b.op("torch.mul", x, Lit(2.0), out=(FLOATS,)), b.op("torch.sum", x)
    runtime = open_on(b.done(*results), host={"00_both": [1]})
    doubled, total = runtime.subgraph("00_both")(np.ones((2, 3), np.float32))
    assert type(doubled) is DeviceArray
    assert type(total) is np.ndarray
    assert total.item() == 6.0


def test_results_that_are_held_never_change(builder: Any, open_on: Any) -> None:
    b = builder("00_both")
    x, s = b.tensor(2, 3), b.scalar(float)
    runtime = open_on(
        b.done(b.op("torch.mul", x, s, out=(FLOATS,)), b.op("torch.add", x, s, out=(FLOATS,))), host={"00_both": [1]}
    )
    call = runtime.subgraph("00_both")
    held = [call(np.ones((2, 3), np.float32), float(n)) for n in range(30)]
    for n, (product, total) in enumerate(held):
        assert (float(fetch(product)[1, 2]), float(total[0, 0])) == (n, n + 1.0)


def test_run_time_sizes_numbers_and_types(builder: Any, open_on: Any) -> None:
    b = builder("00_all")
    x, n, flag = b.tensor("u0", 3), b.scalar(int), b.tensor(dtype="bool")
    parts = (
        b.op("torch.mul", x, n, out=(TensorType("float32", ("u0", 3)),)),
        b.op("torch.nonzero", x, out=(TensorType("int64", ("u1", 2)),)),
        b.op("torch.logical_not", flag, out=(TensorType("bool", ()),)),
    )
    call = open_on(b.done(*parts)).subgraph("00_all")
    for size in (2, 0, 5):
        x_value = np.ones((3, size), np.float32).T  # not in one piece
        scaled, places, flipped = map(fetch, call(x_value, 3, np.array(False)))
        np.testing.assert_array_equal(scaled, x_value * 3)
        assert places.shape == (3 * size, 2)
        assert (flipped.shape, flipped.dtype, bool(flipped)) == ((), np.dtype(bool), True)


def test_an_array_of_another_runtime_is_taken_as_it_is(builder: Any, open_on: Any) -> None:
    b = builder("00_double")
    call = open_on(b.done(b.op("torch.mul", b.tensor(2, 3), Lit(2.0), out=(FLOATS,)))).subgraph("00_double")
    result = call(torch.ones(2, 3))  # by DLPack, as TVM's arrays come
    np.testing.assert_array_equal(torch.from_dlpack(result).numpy(), np.full((2, 3), 2.0, np.float32))


def test_a_device_array_is_never_taken_for_an_array(builder: Any, open_on: Any) -> None:
    b = builder("00_double")
    runtime = open_on(b.done(b.op("torch.mul", b.tensor(2, 3), Lit(2.0), out=(FLOATS,))))
    value = runtime.subgraph("00_double")(np.ones((2, 3), np.float32))
    for use in (np.asarray, np.array, lambda v: np.stack([v, v]), lambda v: np.float32(1) + v):
        with pytest.raises(TypeError, match="on the device"):
            use(value)


def test_lists_are_fetched_with_what_is_in_them(builder: Any, open_on: Any) -> None:
    b = builder("00_double")
    runtime = open_on(b.done(b.op("torch.mul", b.tensor(2, 3), Lit(2.0), out=(FLOATS,))))
    x = np.ones((2, 3), np.float32)
    value = runtime.subgraph("00_double")(x)
    found = fetch({"a": [value, 1.5, (x, value)], "b": None})
    assert [type(item) for item in found["a"]] == [np.ndarray, float, tuple]
    assert found["a"][2][0] is x
    np.testing.assert_array_equal(found["a"][2][1], 2 * x)
    assert fetch("text") == "text"


def test_placing_remembers_what_was_here(builder: Any, open_on: Any) -> None:
    b = builder("00_double")
    runtime = open_on(b.done(b.op("torch.mul", b.tensor(2, 3), Lit(2.0), out=(FLOATS,))))
    x = np.ones((2, 3), np.float32)
    placed = runtime.place(x)
    assert type(placed) is DeviceArray
    assert fetch(placed) is x
    assert runtime.place(placed) is placed
    assert runtime.place(3) == 3


def test_a_weight_goes_to_the_device_once(builder: Any, open_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    b = builder("00_double")
    subgraph = b.done(b.op("torch.mul", b.tensor(2, 3), Lit(2.0), out=(FLOATS,)))
    from dycl.ir.values import Weight

    runtime = open_on(subgraph, weights={"memory": torch.ones(2, 3)}, value=Weight("memory"))
    weight, call = runtime.weight("memory"), runtime.subgraph("00_double")
    assert type(weight) is np.ndarray
    monkeypatch.setattr(Device, "_placed", lambda self, array: pytest.fail("it was placed again"))
    np.testing.assert_array_equal(fetch(call(weight)), np.full((2, 3), 2.0))


def test_threads_call_one_subgraph(builder: Any, open_on: Any) -> None:
    module = nn.Linear(64, 64)
    b = builder("00_net")
    runtime = open_on(b.done(b.op(CallModule("net"), b.tensor(1, 64))), modules={"net": module})
    call = runtime.subgraph("00_net")
    weight, bias = module.weight.detach().numpy().T, module.bias.detach().numpy()
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(100):
            x = rng.standard_normal((1, 64)).astype(np.float32)
            if not np.allclose(fetch(call(call(x))), (x @ weight + bias) @ weight + bias, atol=1e-4):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_error_leaves_the_call_as_it_was(builder: Any, open_on: Any) -> None:
    b = builder("00_double")
    call = open_on(b.done(b.op("torch.mul", b.tensor(2, 3), Lit(2.0), out=(FLOATS,)))).subgraph("00_double")
    x = np.ones((2, 3), np.float32)
    for _ in range(3):
        with pytest.raises(Exception, match="float"):
            call(x.astype(np.int64))
    np.testing.assert_array_equal(fetch(call(x)), 2 * x)


# ---------------------------------------------------------------- where there is no device


def has_cuda() -> bool:
    return "CUDAExecutionProvider" in ort.get_available_providers()


@pytest.mark.skipif(has_cuda(), reason="this ONNX Runtime has CUDA")
def test_a_provider_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DeviceError, match=r"has no CUDAExecutionProvider, only .*CPUExecutionProvider"):
        Device("cuda")


def test_an_unknown_device_is_an_error() -> None:
    with pytest.raises(DeviceError, match="no device 'tpu'; known: cuda, cpu"):
        Device("tpu")


@pytest.mark.skipif(has_cuda(), reason="this ONNX Runtime has CUDA")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_session_that_falls_back_is_an_error(builder: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime only warns where it leaves out a provider."""
    b = builder("00_double")
    built = make(b.done(b.op("torch.mul", b.tensor(2, 3), Lit(2.0), out=(FLOATS,))), options=Options(device="cuda"))
    known = ort.get_available_providers()
    monkeypatch.setattr(device_module.ort, "get_available_providers", lambda: [*known, "CUDAExecutionProvider"])
    runtime = Runtime(built.directory, threads=1, manifest={**built.compiled.manifest(), "device": "cuda"})
    with pytest.raises(DeviceError, match="opens no session for cuda"):
        runtime.subgraph("00_double")


def test_a_target_says_what_it_compiles_for() -> None:
    check_device(find_target("onnxruntime"), "cuda")
    for target, device in (("reference", "cuda"), ("auto", "cuda"), ("onnxruntime", "xpu")):
        with pytest.raises(UsageError, match=f"not for '{device}'") as caught:
            check_device(find_target(target), device)
        assert caught.value.code == "DY504"


def test_what_an_artifact_for_a_gpu_needs(builder: Any, make: Any) -> None:
    b = builder("00_double")
    built = make(b.done(b.op("torch.mul", b.tensor(2, 3), Lit(2.0), out=(FLOATS,))), options=Options(device="cuda"))
    assert any(text.startswith("onnxruntime-gpu") for text in built.compiled.requirements)
    assert not any(text.startswith("onnxruntime>") for text in built.compiled.requirements)
    assert "device.py" in built.compiled.files
    assert read_contents(built.directory)["subgraphs"]["00_double"]["file"]


@pytest.mark.parametrize("option", [{"tune": 1}, {"quantize": "dynamic-int8"}])
def test_what_is_for_the_processor_alone_is_refused(builder: Any, make: Any, option: dict[str, Any]) -> None:
    b = builder("00_double")
    subgraph = b.done(b.op("torch.mul", b.tensor(2, 3), Lit(2.0), out=(FLOATS,)))
    with pytest.raises(UsageError, match="is for the processor") as caught:
        make(subgraph, options=Options(device="cuda", **option))
    assert caught.value.code == "DY505"


def test_a_kind_of_gpu_without_one_to_compile_for_is_refused(builder: Any, make: Any) -> None:
    b = builder("00_double")
    subgraph = b.done(b.op("torch.mul", b.tensor(2, 3), Lit(2.0), out=(FLOATS,)))
    with pytest.raises(UsageError, match="--arch names a GPU") as caught:
        make(subgraph, options=Options(arch="sm_90"))
    assert caught.value.code == "DY505"


# ---------------------------------------------------------------- where there is one


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda(), reason="needs a GPU and onnxruntime-gpu")
def test_values_stay_on_the_gpu(builder: Any, make: Any, tmp_path: Path) -> None:
    b = builder("00_net")
    module = nn.Linear(3, 3)
    x = b.tensor(2, 3)
    built = make(
        b.done(b.op(CallModule("net"), x, out=(FLOATS,))), modules={"net": module}, options=Options(device="cuda")
    )
    runtime = Runtime(built.directory, threads=1, manifest={**built.compiled.manifest(), "device": "cuda"})
    value = runtime.place(np.ones((2, 3), np.float32))
    for _ in range(3):
        value = runtime.subgraph("00_net")(value)
    assert value.value.device_name() == "cuda"
    expected = torch.ones(2, 3)
    for _ in range(3):
        expected = module(expected)
    np.testing.assert_allclose(fetch(value), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
