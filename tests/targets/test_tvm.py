"""TVM as a target: libraries that run without TVM's package, other memory than they need, what is left to others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dycl
from dycl.artifact import load_artifact
from dycl.cache import Cache
from dycl.diagnostics import TargetError, UsageError
from dycl.ir.contents import read_contents
from dycl.ir.nodes import CallModule
from dycl.targets.base import Options
from tests.targets.conftest import Builder, assert_same, environment_of, program_of

pytest.importorskip("tvm")

from dycl.targets.tvm import structures
from dycl.targets.tvm.kept import KeptWork
from dycl.targets.tvm.runtime import Runtime, aligned
from dycl.targets.tvm.target import TARGET
from tests.graphs import read_graphs


class Gated(nn.Module):
    """A convolution, a decision, an LSTM on one side: two runtimes in one host."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.gate = nn.Linear(8, 1)
        self.rnn = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if self.gate(x.mean((2, 3))).item() > 0:
            out, _ = self.rnn(x.flatten(2).transpose(1, 2))
            return out.sum(1)
        return x.amax((2, 3))


def gated() -> Gated:
    torch.manual_seed(0)
    model = Gated().eval()
    model.conv[1].running_mean.normal_()
    model.conv[1].running_var.uniform_(0.5, 2)
    with torch.no_grad():
        model.gate.bias.fill_(-0.45)
    return model


def samples(seed: int) -> torch.Tensor:
    return torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * (1 + seed % 3)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tvm") / "gated"
    compiled = dycl.compile(gated(), (samples(0),), target="tvm", sample_inputs=samples, samples=8, output=place)
    assert compiled.report is not None and compiled.report.verification is not None
    assert not compiled.report.verification.unreached
    return place


def subgraphs(artifact: Path) -> dict[str, Any]:
    entries: dict[str, Any] = read_contents(artifact)["subgraphs"]
    return entries


def test_what_tvm_cannot_take_is_left_to_another_and_said(artifact: Path) -> None:
    entries = subgraphs(artifact).values()
    found = {(entry["engine"], Path(entry["file"]).suffix, entry.get("reason", "")) for entry in entries}
    assert found == {
        ("tvm", ".vm", ""),
        ("onnxruntime", ".onnx", "not TVM: it has the operator LSTM"),
    }


_RUN = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "dycl", "onnx", "tvm"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import numpy, gated
model = gated.load(threads=1)
for x in numpy.load(sys.argv[1]):
    sys.stdout.buffer.write(model(x).tobytes())
"""


def test_it_runs_where_neither_tvm_nor_torch_can_be_imported(artifact: Path, tmp_path: Path) -> None:
    inputs = torch.stack([samples(seed) for seed in range(6)])
    np.save(tmp_path / "x.npy", inputs.numpy())
    command = [sys.executable, "-c", _RUN, str(tmp_path / "x.npy")]
    done = subprocess.run(command, cwd=artifact.parent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    with torch.no_grad():
        expected = torch.stack([gated()(x) for x in inputs])
    actual = np.frombuffer(done.stdout, np.float32).reshape(expected.shape)
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_inputs_in_any_memory(artifact: Path) -> None:
    """Compiled code crashes on memory that does not begin at a multiple of 64 bytes: it never gets to see it."""
    host = dycl.load(artifact, threads=1)
    x = samples(1).numpy()
    expected = host(x)
    for offset in (1, 4, 5, 8):
        room = np.zeros(x.size + offset, np.float32)
        view = room[offset:].reshape(x.shape)
        view[...] = x
        np.testing.assert_array_equal(host(view), expected)
    frozen = x.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(host(frozen), expected)
    np.testing.assert_array_equal(host(np.asfortranarray(x)), expected)


def test_one_host_for_several_threads(artifact: Path) -> None:
    """Inputs that are copied go to memory that stays: two calls at once must not meet there."""
    loaded = load_artifact(artifact, threads=1)
    inputs = [samples(seed).numpy() for seed in range(6)]
    expected = [loaded.host.forward(x) for x in inputs]
    places = [np.zeros(x.size + 1, np.float32)[1:].reshape(x.shape) for x in inputs]
    for place, x in zip(places, inputs, strict=True):
        place[...] = x

    def run(offset: int) -> bool:
        order = [(index + offset) % 6 for index in range(60)]
        return all(np.array_equal(loaded.host.forward(places[index]), expected[index]) for index in order)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(4)))


def test_strict_refuses_what_would_be_left_to_another() -> None:
    with pytest.raises(TargetError, match=r"DY405: .*not TVM: it has the operator LSTM"):
        dycl.compile(gated(), (samples(0),), target="tvm", strict=True, verify=False)


def test_a_processor_that_nobody_knows() -> None:
    with pytest.raises(UsageError, match="DY505: --mcpu: LLVM knows no processor 'abacus'"):
        dycl.compile(nn.ReLU(), (torch.ones(2),), target="tvm", mcpu="abacus", verify=False)


# ---------------------------------------------------------------- one subgraph


def make(directory: Path, *built: Any, modules: dict[str, nn.Module] | None = None, **options: Any) -> Any:
    compiled = TARGET.compile(
        program_of(*built), environment_of(None, modules), directory, Options(strict=True, **options)
    )
    manifest = compiled.manifest()
    return manifest["subgraphs"], Runtime(directory, threads=1, manifest=manifest)


def test_a_lesser_processor_is_an_error_and_no_crash(tmp_path: Path) -> None:
    b = Builder()
    entries, runtime = make(tmp_path, b.done(b.op("torch.relu", b.tensor(4))), mcpu="x86-64-v2")
    settings = entries["00_test"]["settings"]
    assert settings["mcpu"] == "x86-64-v2"
    assert "sse4_2" in settings["features"] and "avx" not in settings["features"]
    settings["features"].append("avx1024")
    with pytest.raises(RuntimeError, match=r"compiled for x86-64-v2, but this processor lacks avx1024: .*--mcpu"):
        runtime.subgraph("00_test")


def test_results_are_memory_of_their_own(tmp_path: Path) -> None:
    """A reshaped input, and one that is handed out twice."""
    b = Builder()
    x = b.tensor(2, 4)
    entries, runtime = make(tmp_path, b.done(b.op("torch.reshape", x, (8,)), b.op("torch.neg", x)))
    assert entries["00_test"]["settings"]["copied"] == [0]
    given = aligned(np.arange(8, dtype=np.float32).reshape(2, 4))
    reshaped, negative = runtime.subgraph("00_test")(given)
    given[...] = 0
    np.testing.assert_array_equal(reshaped, np.arange(8, dtype=np.float32))
    np.testing.assert_array_equal(negative, -np.arange(8, dtype=np.float32).reshape(2, 4))


def test_subgraphs_of_one_structure_share_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    modules: dict[str, nn.Module] = {name: nn.Linear(8, 8) for name in ("a", "b")}
    built = []
    for index, name in enumerate(modules):
        b = Builder(f"0{index}_{name}")
        built.append(b.done(b.op(CallModule(name), b.tensor(2, 8)), structure=0))
    entries, runtime = make(tmp_path, *built, modules=modules)
    assert {entry["file"] for entry in entries.values()} == {"subgraphs/00_a.vm"}
    x = torch.randn(2, 8)
    for index, name in enumerate(modules):
        assert_same(runtime.subgraph(f"0{index}_{name}")(x.numpy()), modules[name](x))


def test_numbers_of_the_host(tmp_path: Path) -> None:
    b = Builder()
    x, s = b.tensor(3), b.scalar(float)
    _, runtime = make(tmp_path, b.done(b.op("torch.mul", x, s)))
    given = torch.randn(3)
    assert_same(runtime.subgraph("00_test")(given.numpy(), 2.5), given * 2.5)


def test_indices_are_checked(tmp_path: Path) -> None:
    """Compiled code reads wherever they point."""
    b = Builder()
    modules: dict[str, nn.Module] = {"table": nn.Embedding(10, 4)}
    x, i, j = b.tensor(3, dtype="int64"), b.tensor(2, 5), b.tensor(2, 3, dtype="int64")
    rows = b.op(CallModule("table"), x)
    entries, runtime = make(tmp_path, b.done(rows, b.op("torch.gather", i, 1, j)), modules=modules)
    assert entries["00_test"]["settings"]["guarded"] is True
    call = runtime.subgraph("00_test")
    table, places = torch.tensor([0, 9, 3]), torch.tensor([[0, 4, 4], [1, 2, 3]])
    values = torch.randn(2, 5)
    first, second = call(table.numpy(), values.numpy(), places.numpy())
    assert_same(first, modules["table"](table))
    assert_same(second, values.gather(1, places), exact=True)
    for wrong in (10, 1 << 40, -(1 << 40)):
        with pytest.raises(IndexError):
            call(np.array([0, wrong, 1]), values.numpy(), places.numpy())
    with pytest.raises(IndexError):
        call(table.numpy(), values.numpy(), places.numpy() + 1)


def relus(*sizes: int) -> list[Any]:
    """A subgraph for each size, in the order of the sizes: each has a kernel of its own."""
    built = []
    for index, size in enumerate(sizes):
        b = Builder(f"0{index}_relu")
        x = b.tensor(size)
        built.append(b.done(b.op("torch.relu", b.op("torch.neg", x)), structure=index))
    return built


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / "subgraphs").iterdir()}


def compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The symbols of the kernels that are compiled from now on."""
    found: list[str] = []
    build = structures.build_object

    def note(functions: Any, processor: Any) -> bytes:
        found.extend(str(function.attrs["global_symbol"]) for function in functions)
        return build(functions, processor)

    monkeypatch.setattr(structures, "build_object", note)
    return found


def test_equal_kernels_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all structures of a program, whatever the variables around them are called."""
    compiled = compiled_kernels(monkeypatch)
    built = []
    for index, operator in enumerate(("torch.relu", "torch.neg")):
        b = Builder(f"0{index}_softmax")
        x, y = b.tensor(4, 16), b.tensor(4, 16)
        z = b.op("torch.mm", b.op(operator, b.op("torch.add", x, y)), b.tensor(16, 16)) if index else x
        built.append(b.done(b.op("torch.softmax", z, 1), structure=index))
    _, runtime = make(tmp_path, *built)
    assert sorted(symbol.rsplit("_", 1)[0] for symbol in compiled) == [*("fused_add_tir_negative", "matmul", "softmax")]
    x = torch.randn(4, 16)
    assert_same(runtime.subgraph("00_softmax")(x.numpy(), x.numpy()), x.softmax(1))
    weight = torch.randn(16, 16)
    found = runtime.subgraph("01_softmax")(x.numpy(), x.numpy(), weight.numpy())
    assert_same(found, (-2 * x @ weight).softmax(1))


@pytest.mark.slow
def test_what_earlier_compiles_have_made_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is new is compiled, and the bytes are those of a compile without a cache."""
    compiled = compiled_kernels(monkeypatch)
    cache = Cache(tmp_path / "cache", 1 << 24)
    make(tmp_path / "first", *relus(8, 16), cache=cache)
    assert len(compiled) == 2
    make(tmp_path / "more", *relus(24, 16, 8), cache=cache)
    assert len(compiled) == 3
    _, runtime = make(tmp_path / "again", *relus(24, 16, 8), cache=cache)
    assert len(compiled) == 3
    assert runtime.subgraph("02_relu")(np.arange(-4, 4, dtype=np.float32)).tolist() == [4, 3, 2, 1, 0, 0, 0, 0]
    make(tmp_path / "alone", *relus(24, 16, 8))
    assert files(tmp_path / "more") == files(tmp_path / "again") == files(tmp_path / "alone")
    make(tmp_path / "other", *relus(8), cache=cache, mcpu="x86-64-v2")
    assert len(compiled) == 7  # three without a cache, and one


def test_a_kernel_that_the_cache_has_lost_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "cache", 1 << 24)
    make(tmp_path / "first", *relus(8, 16), cache=cache)
    compiled = compiled_kernels(monkeypatch)
    monkeypatch.setattr(KeptWork, "find_object", lambda kept, group: None)
    make(tmp_path / "again", *relus(8, 16), cache=cache)
    assert len(compiled) == 2
    assert files(tmp_path / "first") == files(tmp_path / "again")


def softmaxes(*operators: str) -> list[Any]:
    """Subgraphs that all have the kernel of a softmax; before it comes the operator, if one is named."""
    built = []
    for index, operator in enumerate(operators):
        b = Builder(f"0{index}_softmax")
        x = b.tensor(4, 16)
        built.append(b.done(b.op("torch.softmax", b.op(operator, x) if operator else x, 1), structure=index))
    return built


def test_kernels_that_were_never_compiled_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytecode is there, but an object only of a kernel with another that now an earlier structure needs."""
    cache = Cache(tmp_path / "cache", 1 << 24)
    make(tmp_path / "first", *softmaxes("torch.neg"), cache=cache)
    compiled = compiled_kernels(monkeypatch)
    _, runtime = make(tmp_path / "two", *softmaxes("", "torch.neg"), cache=cache)
    assert sorted(symbol.rsplit("_", 1)[0] for symbol in compiled) == ["softmax", "tir_negative"]
    make(tmp_path / "alone", *softmaxes("", "torch.neg"))
    assert files(tmp_path / "two") == files(tmp_path / "alone")
    x = torch.randn(4, 16)
    assert_same(runtime.subgraph("00_softmax")(x.numpy()), x.softmax(1))
    assert_same(runtime.subgraph("01_softmax")(x.numpy()), (-x).softmax(1))


def test_one_kernel_that_cannot_be_compiled_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that would be compiled with it are compiled without it."""
    build = structures.build_object

    def fail(functions: Any, processor: Any) -> bytes:
        if any("negative" in str(function.attrs["global_symbol"]) for function in functions):
            raise ValueError("it is negative")
        return build(functions, processor)

    monkeypatch.setattr(structures, "build_object", fail)
    built = softmaxes("torch.neg", "")
    compiled = TARGET.compile(program_of(*built), environment_of(None), tmp_path, Options())
    assert [subgraph.engine for subgraph in compiled.subgraphs] == ["onnxruntime", "tvm"]


def test_what_one_structure_cannot_have_the_others_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = structures.build_object

    def fail(functions: Any, processor: Any) -> bytes:
        if any("16" in str(function) for function in functions):
            raise ValueError("it is sixteen")
        return build(functions, processor)

    monkeypatch.setattr(structures, "build_object", fail)
    compiled = TARGET.compile(program_of(*relus(8, 16)), environment_of(None), tmp_path, Options())
    first, second = compiled.subgraphs
    assert (first.engine, second.engine) == ("tvm", "onnxruntime")
    assert second.reason == "not TVM: its kernel fused_tir_negative_relu: TVM does not compile it: it is sixteen"
    library, code = sorted(files(tmp_path), reverse=True)
    assert (code, first.settings["library"]) == ("00_relu.vm", f"subgraphs/{library}")
    assert set(read_graphs(tmp_path)) == {"01_relu"}


def test_what_a_compile_puts_in_the_place_of_another_has_its_own_kernels(tmp_path: Path) -> None:
    """The first is still open: for the system a library of the same path would be the same library."""
    kept = []
    given = torch.rand(2, 4)
    for name in ("exp", "neg"):
        b = Builder()
        x = b.tensor(2, 4)
        _, runtime = make(tmp_path / "artifact", b.done(b.op(f"torch.{name}", x)))
        assert_same(runtime.subgraph("00_test")(given.numpy()), getattr(torch, name)(given))
        kept.append(runtime)
        shutil.rmtree(tmp_path / "artifact")


def test_what_only_hands_on_needs_no_library(tmp_path: Path) -> None:
    b = Builder()
    x = b.tensor(2, 4)
    entries, runtime = make(tmp_path, b.done(b.op("torch.clone", x)))
    assert "library" not in entries["00_test"]["settings"] and set(files(tmp_path)) == {"00_test.vm"}
    given = torch.randn(2, 4)
    assert_same(runtime.subgraph("00_test")(given.numpy()), given, exact=True)


_IMPORT = """
import os, sys, torch
from dycl.targets.tvm.package import import_tvm
import_tvm()
import tvm
assert tvm.runtime.disco is not None, "a part of the runtime was missing"
assert not tvm.backend.loader.is_loaded("cuda"), "there are hooks for a GPU"
assert "TVM_DEVICE_BACKEND_AUTOLOAD" not in os.environ
"""


@pytest.mark.slow
def test_tvm_is_imported_without_what_takes_a_second() -> None:
    """Its first error reads the symbols of all libraries: its import must raise none, not even one that it swallows."""
    done = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_a_failure_leaves_behind_is_destroyed_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    """A builder of TVM's that was not finished says so on standard error when it goes."""

    class Unfinished:
        def __del__(self) -> None:
            os.write(2, b"destroyed with remaining blocks")

    def fail(item: int) -> None:
        unfinished = Unfinished()
        raise ValueError(f"{item}: {type(unfinished).__name__}")

    assert structures._attempt(fail, 3) == structures._Refused("TVM does not compile it: 3: Unfinished")
    assert capfd.readouterr().err == ""
