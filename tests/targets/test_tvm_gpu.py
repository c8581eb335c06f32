"""TVM for a GPU without one: real machine code is compiled, and the same kernels run on an emulated GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dycl
from dycl.diagnostics import UsageError
from dycl.ir.contents import read_contents
from tests.targets.emulated_gpu.emulation import build_driver, compile_kernels

pytest.importorskip("tvm")
pytestmark = [
    pytest.mark.filterwarnings("ignore:compiled for cuda"),
    pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU"),
]

HAS_NVCC = bool(shutil.which("nvcc") or Path("/usr/local/cuda/bin/nvcc").is_file())


class Gated(nn.Module):
    """Products, reductions, a softmax, a maximum, a convolution and a decision on each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.gate, self.mix = nn.Linear(8, 1), nn.Linear(8, 40)
        self.memory = torch.zeros(3, 40)
        self.norm.running_mean.uniform_(-0.1, 0.1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
        x = torch.relu(self.norm(self.conv(x)))
        pooled = x.mean((2, 3))
        steps = 0
        while pooled.norm().item() > 0.8 and steps < 2:
            pooled = torch.tanh(pooled) * 0.7
            steps += 1
        y = self.mix(pooled)
        if self.gate(pooled).sum().item() > 0:  # a product with one column: an exchange within a warp
            y = y.softmax(-1)
        self.memory = self.memory * 0.5 + y
        return self.memory, y.argmax(-1), steps


def model() -> Gated:
    torch.manual_seed(0)
    return Gated().eval()


def samples(seed: int) -> torch.Tensor:
    return torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(seed)) * (1 + seed % 4)


def in_child(text: str, emulated: Path | None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, where CUDA's libraries are the emulated ones."""
    paths = {"LD_LIBRARY_PATH": str(emulated)} if emulated is not None else {}
    variables = {**os.environ, **paths, **environment}
    return subprocess.run([sys.executable, "-c", text], env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with CUDA's libraries."""
    folder = tmp_path_factory.mktemp("emulated")
    build_driver(folder)
    return folder


@pytest.fixture(scope="module")
def artifact(emulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose kernels the emulated GPU runs."""
    from dycl.targets.tvm import gpu

    place = tmp_path_factory.mktemp("artifact") / "gated"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "_compile_kernels", lambda source, kind, folder: compile_kernels(source, emulated))
        patch.setattr(gpu, "find_nvcc", lambda: "nvcc")
        options: dict[str, Any] = {"target": "tvm", "device": "cuda", "arch": "sm_90", "sample_inputs": samples}
        made = dycl.compile(model(), (samples(0),), output=place, samples=8, **options)
    assert made.report is not None
    assert [found.reason for found in made.report.subgraphs if found.reason] == []
    assert "CUDA's libraries are not here" in made.report.device_missing
    assert made.report.verification is not None
    return place


RUN = """
import numpy as np
import dycl
given = np.load({inputs!r})
model = dycl.load({artifact!r})
found = {{}}
for name in given.files:
    memory, best, steps = model(given[name])
    found |= {{f"{{name}}.memory": memory, f"{{name}}.best": best, f"{{name}}.steps": np.array(steps)}}
found["state"] = model.state["memory"]
np.savez({outputs!r}, **found)
"""


@pytest.mark.slow
def test_the_kernels_compute_what_the_source_does(artifact: Path, emulated: Path, tmp_path: Path) -> None:
    """On an emulated GPU: their schedules, barriers and shared memory; values stay in its memory."""
    inputs, outputs = str(tmp_path / "inputs.npz"), str(tmp_path / "outputs.npz")
    np.savez(inputs, **{str(seed): samples(seed).numpy() for seed in range(8)})
    done = in_child(RUN.format(inputs=inputs, artifact=str(artifact), outputs=outputs), emulated)
    assert done.returncode == 0, done.stderr[-3000:]
    eager, taken = model(), set()
    with np.load(outputs) as found:
        for seed in range(8):
            memory, best, steps = eager(samples(seed))
            np.testing.assert_allclose(found[f"{seed}.memory"], memory.detach().numpy(), rtol=1e-4, atol=1e-5)
            assert found[f"{seed}.best"].tolist() == best.tolist()
            assert found[f"{seed}.steps"] == steps
            taken.add(steps)
        np.testing.assert_allclose(found["state"], eager.memory.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert len(taken) > 1


@pytest.mark.slow
def test_without_cuda_it_is_refused_and_runs_on_the_processor_if_asked(artifact: Path) -> None:
    with pytest.raises(UsageError, match="CUDA's libraries are not here") as caught:
        dycl.load(artifact)
    assert caught.value.code == "DY406"
    loaded, eager = dycl.load(artifact, device="cpu"), model()
    for seed in range(3):
        expected, found = eager(samples(seed)), loaded(samples(seed))
        torch.testing.assert_close(found[0], expected[0].detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_gpu_that_is_not_there_or_too_old_is_an_error(artifact: Path, emulated: Path) -> None:
    text = f"import dycl\ndycl.load({str(artifact)!r})"
    assert "CUDA finds no GPU here" in in_child(text, emulated, EMULATED_GPUS="0").stderr
    older = in_child(text, emulated, EMULATED_CAPABILITY="8").stderr
    assert "compiled for sm_90, but this GPU is of compute capability 8.0" in older


@pytest.mark.slow
def test_tvm_can_be_imported_after_an_artifact(artifact: Path, emulated: Path) -> None:
    """Both have a function by which kernels are compiled."""
    text = f"import dycl\nmodel = dycl.load({str(artifact)!r})\nimport tvm\nprint(tvm.cuda(0).exist)"
    done = in_child(text, emulated)
    assert done.stdout == "True\n", done.stderr[-2000:]


@pytest.mark.slow
def test_what_the_artifact_holds_and_needs(artifact: Path) -> None:
    manifest = read_contents(artifact)
    assert manifest["device"] == "cuda"
    assert "nvidia-cuda-runtime>=13,<14" in manifest["requirements"]
    for entry in manifest["subgraphs"].values():
        settings = entry["settings"]["gpu"]
        assert settings["arch"] == "sm_90"
        assert all((artifact / file).is_file() for file in (settings["file"], *settings["kernels"].values()))
    assert (artifact / "lib" / "libtvm_runtime_cuda.so").is_file()


@pytest.mark.skipif(not HAS_NVCC, reason="needs nvcc")
def test_machine_code_is_made_for_that_gpu(builder: Any, tmp_path: Path) -> None:
    """By nvcc itself; ptxas has assembled it."""
    from dycl.targets.tvm.gpu import _compile_kernels, find_gpu
    from dycl.targets.tvm.processor import find_processor

    found = find_gpu("sm_90", find_processor(""))
    source = 'extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2.0f; }'
    code = _compile_kernels(source, found, tmp_path)
    assert b"sm_90" in code or b"compute_90" in code or code[:4] == b"\x50\xed\x55\xba"
    with pytest.raises(RuntimeError, match="nvcc: "):
        _compile_kernels("no C++", found, tmp_path)


@pytest.mark.parametrize(
    ("arch", "code", "message"),
    [("pascal", "DY505", "names no GPU"), ("sm_9", "DY505", "names no GPU"), ("", "DY505", "there is no GPU here")],
)
def test_a_name_that_is_none_is_refused(arch: str, code: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from dycl.targets.tvm import gpu
    from dycl.targets.tvm.processor import find_processor

    monkeypatch.setattr(gpu, "find_nvcc", lambda: "nvcc")
    with pytest.raises(UsageError, match=message) as caught:
        gpu.find_gpu(arch, find_processor(""))
    assert caught.value.code == code


def test_without_a_compiler_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from dycl.targets.tvm import gpu
    from dycl.targets.tvm.processor import find_processor

    monkeypatch.setattr(gpu, "find_nvcc", lambda: "")
    with pytest.raises(UsageError, match="needs nvcc") as caught:
        gpu.find_gpu("sm_90", find_processor(""))
    assert caught.value.code == "DY504"
