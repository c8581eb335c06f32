"""What a compile writes: weights once, structures once, the same bytes in every process, a runtime without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from dycl.diagnostics import UsageError
from dycl.ir.contents import read_contents
from dycl.ir.nodes import CallModule
from dycl.ir.values import TensorType, Weight
from dycl.manifest import pack
from dycl.targets.base import Options, find_target
from dycl.targets.onnxruntime.sharing import SharedFiles
from dycl.targets.onnxruntime.target import TARGET
from tests.graphs import read_graphs
from tests.targets.conftest import Builder, environment_of, program_of

ROOT = Path(__file__).parents[2]


def chain(builder, make, modules: dict[str, nn.Module], shape=(2, 8), named=True):
    """One subgraph a module, all of one structure."""
    subgraphs = []
    for index, path in enumerate(modules):
        b = builder(f"{index:02}_{path}")
        x = b.tensor(*shape)
        subgraphs.append(b.done(b.op("torch.relu", b.op(CallModule(path), x)), structure=0))
    return make(*subgraphs, modules=modules, named=named)


def test_a_structure_is_exported_once_and_bound_to_each_subgraphs_weights(builder, make) -> None:
    modules = {f"layer{i}": nn.Linear(8, 8) for i in range(3)}
    built = chain(builder, make, modules)
    assert built.compiled.structures_exported == 1
    x = torch.randn(2, 8)
    for index, (path, module) in enumerate(modules.items()):
        got = built.run(x.numpy(), name=f"{index:02}_{path}")
        np.testing.assert_allclose(got, torch.relu(module(x)).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_structure_is_one_file_and_the_runtime_places_the_weights(builder, make) -> None:
    modules = {f"layer{i}": nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)) for i in range(3)}
    built = chain(builder, make, modules)
    graphs = read_graphs(built.directory)
    assert list(graphs) == ["00_layer0"]
    assert graphs["00_layer0"] == onnx.load_model_from_string(built.runtime.model("00_layer0"))
    for index, (path, module) in enumerate(modules.items()):
        name = f"{index:02}_{path}"
        model = onnx.load_model_from_string(built.runtime.model(name))
        onnx.load_external_data_for_model(model, str(built.directory))
        stored = [onnx.numpy_helper.to_array(initializer) for initializer in model.graph.initializer]
        for weight in module.parameters():
            assert any(np.array_equal(array, weight.detach().numpy()) for array in stored)
        x = torch.randn(2, 8)
        got = built.run(x.numpy(), name=name)
        np.testing.assert_allclose(got, torch.relu(module(x)).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_what_looks_like_a_place_is_told_from_one() -> None:
    """Bytes of a constant may be those of a place; then the model keeps a file of its own."""
    graph = onnx.parser.parse_graph("g (float[1] x) => (float[1] y) { y = Add(x, x) }")
    model = onnx.helper.make_model(graph)
    files = SharedFiles()
    trap = b"\x0a\x06offset\x12\x0c000000000000"
    for number in range(2):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.graph.initializer.append(
            onnx.helper.make_tensor("trap", onnx.TensorProto.UINT8, [len(trap)], trap, raw=True)
        )
        weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1])
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="weights.bin")
        weight.external_data.add(key="offset", value=str(64 * number))
        copy.graph.initializer.append(weight)
        shared = files.add(f"{number}.onnx", copy)
        assert shared.file == f"{number}.onnx"
        found = onnx.load_model_from_string(shared.model).graph.initializer
        assert found[0].raw_data == trap
        assert {entry.key: entry.value for entry in found[1].external_data}["offset"] == f"{64 * number:012d}"


def test_weights_that_only_the_modules_name_are_bound_and_keep_their_paths(builder, make) -> None:
    """A program names the weights that its operations take; those inside of modules are known by the modules alone."""
    modules = {f"layer{i}": nn.Linear(8, 8) for i in range(3)}
    built = chain(builder, make, modules, named=False)
    assert built.compiled.structures_exported == 1
    names = {weight.name for weight in built.compiled.weights}
    assert names == {f"layer{i}.{part}" for i in range(3) for part in ("weight", "bias")}
    x = torch.randn(2, 8)
    for index, (path, module) in enumerate(modules.items()):
        got = built.run(x.numpy(), name=f"{index:02}_{path}")
        np.testing.assert_allclose(got, torch.relu(module(x)).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_weights_that_could_be_folded_stay_weights(builder, make) -> None:
    """The exporter would fold a batch norm into the convolution before it; then the model fits no other weights."""
    first, second = (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval() for _ in range(2))
    second[1].running_mean.fill_(3.0)
    built = chain(builder, make, {"a": first, "b": second}, shape=(1, 3, 6, 6))
    assert built.compiled.structures_exported == 1
    x = torch.randn(1, 3, 6, 6)
    for name, module in (("00_a", first), ("01_b", second)):
        np.testing.assert_allclose(built.run(x.numpy(), name=name), torch.relu(module(x)).detach().numpy(), atol=1e-5)


def test_a_tensor_that_is_no_weight_is_not_shared(builder, make) -> None:
    class Scale(nn.Module):
        def __init__(self, by: float, size: int) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)
            self.by = torch.full((size,), by)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x) * self.by[:8]

    for size in (8, 600):  # inside the model, and in weights.bin
        modules = {"a": Scale(2.0, size), "b": Scale(3.0, size)}
        built = chain(builder, make, modules)
        x = torch.randn(2, 8)
        for name, module in (("00_a", modules["a"]), ("01_b", modules["b"])):
            want = torch.relu(module(x)).detach().numpy()
            np.testing.assert_allclose(built.run(x.numpy(), name=name), want, rtol=1e-4, atol=1e-6)


def test_weights_are_stored_once(builder, make) -> None:
    shared = nn.Linear(64, 64)
    modules = {"a": shared, "b": nn.Linear(64, 64), "c": shared}
    modules["b"].weight.data.copy_(shared.weight.data)  # equal content, other memory
    built = chain(builder, make, modules, shape=(2, 64))
    state = {name: t for m in (shared, modules["b"]) for name, t in m.state_dict().items()}
    size = sum(t.nbytes for t in state.values())
    assert (built.directory / "weights.bin").stat().st_size <= 1.02 * size + modules["b"].bias.nbytes
    assert all(len(built.runtime.model(name)) < 4096 for name in read_graphs(built.directory))


def test_big_files_stay_within_two_percent(builder, make) -> None:
    modules = {f"m{i}": nn.Sequential(nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32)).eval() for i in range(4)}
    built = chain(builder, make, modules, shape=(1, 32, 5, 5))
    size = sum(t.nbytes for m in modules.values() for t in m.state_dict().values())
    assert (built.directory / "weights.bin").stat().st_size <= 1.02 * size


def test_the_host_reads_weights(builder, make) -> None:
    b = builder()
    w = torch.randn(3, 4).t()
    built = make(b.done(b.op("torch.relu", b.tensor(2))), weights={"unused": torch.zeros(9), "w": w}, value=Weight("w"))
    array = built.runtime.weight("w")
    np.testing.assert_array_equal(array, w.numpy())
    assert not array.flags.writeable
    assert [weight.name for weight in built.compiled.weights] == ["w"]


def test_initializers_point_into_the_weights_file(builder, make) -> None:
    built = chain(builder, make, {"a": nn.Linear(8, 8)})
    model = read_graphs(built.directory)["00_a"]
    onnx.load_external_data_for_model(model, str(built.directory))
    names = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    np.testing.assert_array_equal(names["m0.weight"], built.runtime.weight("a.weight"))


def test_given_samples_are_checked_and_unknown_targets_named(builder, make) -> None:
    with pytest.raises(UsageError, match="no target 'nowhere'") as caught:
        find_target("nowhere")
    assert caught.value.code == "DY504"


def compile_two(directory: Path) -> None:
    """A network and a recurrent layer, compiled into a directory."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    modules = {"net": net.eval(), "rnn": nn.GRU(4, 3)}
    b = Builder("00_net")
    x, s = b.tensor("batch", 3, 8, "width"), b.scalar(float)
    y = b.op("torch.mul", b.op(CallModule("net"), x), s)
    r = Builder("01_rnn")
    z = r.op(CallModule("rnn"), r.tensor(3, 2, 4), out=[TensorType("float32", ())] * 2)
    program = program_of(b.done(y), r.done(*z))
    compiled = TARGET.compile(program, environment_of(None, modules), directory, Options())
    (directory / "manifest.json").write_text(json.dumps(pack(compiled.manifest()), indent=1))
    (directory / "runtime.py").write_text(compiled.runtime["runtime.py"])


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


_RUN = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "dycl", "onnx", "onnxscript", "onnx_ir"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[2])
import numpy as np
from a.runtime import Runtime
import onnxruntime as ort
for lazy in (False, True):
    runtime = Runtime(sys.argv[1], threads=2, lazy=lazy, shared_pool=True)
    y = runtime.subgraph("00_net")(np.ones((2, 3, 8, 5), np.float32), 0.5)
    out, state = runtime.subgraph("01_rnn")(np.ones((3, 2, 4), np.float32))
    assert y.shape == (2, 4 * 6 * 3) and out.shape == (3, 2, 3) and state.shape == (1, 2, 3)
    assert runtime.subgraph("00_net") is runtime.subgraph("00_net")
own = Runtime(sys.argv[1], shared_pool=False).subgraph("00_net")  # falls back to the pool that is there
assert np.array_equal(own(np.ones((2, 3, 8, 5), np.float32), 0.5), y)
print("fine")
"""


def test_same_bytes_in_two_processes_and_a_runtime_without_torch(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    compile_two(tmp_path / "a")
    code = f"from pathlib import Path; from {__name__} import compile_two; compile_two(Path({str(tmp_path / 'b')!r}))"
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    other = {**os.environ, "PYTHONHASHSEED": seed, "DYCL_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, env=other, cwd=ROOT)
    first, second = files_of(tmp_path / "a"), files_of(tmp_path / "b")
    assert sorted(first) == [
        "contents.py", "dispatch.py", "graphs.py", "manifest.json", "memory.py", "runtime.py", "subgraphs.zip",
        "unsized.py", "weights.bin",
    ]  # fmt: skip
    assert first == second
    assert list(read_graphs(tmp_path / "a")) == ["00_net", "01_rnn"]
    shutil.rmtree(tmp_path / "b")
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(tmp_path / "a"), str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "fine", done.stderr
    assert read_contents(tmp_path / "a")["subgraphs"]["00_net"]["inputs"][1]["scalar"] == "float"


def test_the_runtime_takes_part_where_others_have_sessions(tmp_path: Path, builder, make) -> None:
    """ONNX Runtime refuses default sessions once there is a pool of the process: we make none unasked."""
    built = chain(builder, make, {"a": nn.Linear(8, 8)})
    model = built.directory / "plain.onnx"
    graph = read_graphs(built.directory)["00_a"]
    onnx.load_external_data_for_model(graph, str(built.directory))
    onnx.save(graph, model)
    script = f"""
import sys
sys.path.insert(0, {str(built.directory.parent)!r})
import numpy as np, onnxruntime as ort
from {built.directory.name}.runtime import Runtime, share_pool
x = np.ones((2, 8), np.float32)
y = Runtime({str(built.directory)!r}, threads=int(sys.argv[1])).subgraph("00_a")(x)
assert np.allclose(ort.InferenceSession({str(model)!r}).run(None, {{"in0": x}})[0], y)
"""
    for threads in ("1", "2"):
        subprocess.run([sys.executable, "-c", script, threads], check=True, cwd=tmp_path)
    asked = script.replace("y = Runtime", "share_pool(2)\ny = Runtime")
    refused = subprocess.run([sys.executable, "-c", asked, "2"], capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 1
    assert "global thread pool" in refused.stderr
