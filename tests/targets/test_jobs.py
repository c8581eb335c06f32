"""Several processes build what one builds, byte for byte."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from dycl.pipeline import check_model, compile_model
from dycl.settings import Settings
from dycl.targets import processes
from dycl.targets.base import Options, find_target
from dycl.targets.onnx import binding
from dycl.targets.processes import try_in_processes


class Stages(nn.Module):
    """A subgraph of another structure on each side of two decisions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.last = nn.Linear(4, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x) if x.sum() > 0 else self.norm(x)
        return self.last(x) if x.amax() > 1 else x[:, :2] * torch.tensor([2.0, 3.0])


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["onnxruntime", "tvm"])
def test_the_files_are_the_same(name: str, tmp_path: Path) -> None:
    if name == "tvm":
        pytest.importorskip("tvm")
    torch.manual_seed(0)
    checked = check_model(Stages().eval(), (torch.ones(1, 4),), {}, Settings())
    assert len({subgraph.structure for subgraph in checked.program.subgraphs}) >= 4
    made = []
    for jobs in (1, 2):
        directory = tmp_path / str(jobs)
        target = find_target(name)
        compiled = target.compile(checked.program, checked.environment, directory, Options(jobs=jobs))
        made.append((files(directory), compiled.weights, compiled.structures_exported))
    assert made[0] == made[1]


def test_a_compile_has_as_many_as_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = []

    def note(function: Any, items: Sequence[Any], jobs: int) -> Any:
        told.append(jobs)
        return try_in_processes(function, items, jobs)

    monkeypatch.setattr(binding, "try_in_processes", note)
    settings = Settings(jobs=3, verify=False, cache=False)
    compile_model(Stages().eval(), (torch.ones(1, 4),), {}, settings, output=tmp_path / "stages")
    assert told == [3]


def test_results_are_in_order_and_what_fails_is_left_out() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number * 10

    done = try_in_processes(work, range(6), 2)
    assert [each and each.result for each in done] == [0, 10, 20, None, 40, 50]
    assert try_in_processes(work, range(6), 1) == [None] * 6  # nothing is tried where one process is to do it all


def test_they_are_other_processes() -> None:
    done = try_in_processes(lambda _: (os.getpid(), torch.get_num_threads()), range(5), 2)
    found = [each.result for each in done if each]
    assert found[0][0] == os.getpid() and os.getpid() not in [process for process, _ in found[1:]]
    assert {threads for _, threads in found[1:]} == {1}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_that_is_killed_stops_nothing() -> None:
    here = os.getpid()

    def work(number: int) -> int:
        if number == 2 and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    done = try_in_processes(work, range(5), 2)
    assert len(done) == 5
    assert done[0] is not None and done[0].result == 0 and done[2] is None


def test_a_process_that_waits_for_ever_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does that was forked while another thread held a lock."""
    monkeypatch.setattr(processes, "_STALLED", 0.5)
    here = os.getpid()

    def work(item: int) -> int:
        if item == 3 and os.getpid() != here:
            time.sleep(600)
        return item * 10

    done = try_in_processes(work, range(6), jobs=2)
    assert done[0] is not None and done[0].result == 0
    assert done[3] is None and all(one is None or one.result == item * 10 for item, one in enumerate(done))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_leaves_alone_what_its_parent_has_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session in a ring, which only the collector finds, has threads that the fork does not have."""
    monkeypatch.setattr(processes, "_STALLED", 5.0)
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "g", [value], [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # they wait at once
    ring: list[object] = [ort.InferenceSession(model.SerializeToString(), options)]
    ring.append(ring)
    time.sleep(0.2)
    gc.disable()
    try:
        del ring

        def work(item: int) -> int:
            if os.getpid() != here:
                gc.collect()
            return item

        here = os.getpid()
        assert [one and one.result for one in try_in_processes(work, range(5), jobs=2)] == [0, 1, 2, 3, 4]
        assert not gc.isenabled()
    finally:
        gc.enable()
