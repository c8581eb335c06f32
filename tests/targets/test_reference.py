"""onnx's reference evaluator as a target: an engine is all it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import dycl
from dycl.diagnostics import TargetError


class Halving(nn.Module):
    """A loop of unknown length over tensors of run-time size, and a number of the host in a subgraph."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear(x)
        steps = 0
        while x.abs().max() > 1:
            x = x / (2 + steps)
            steps += 1
        return x * steps


def test_it_compiles_and_runs_without_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Halving().eval()
    x = 9 * torch.randn(3, 4)
    shapes = {"x": {0: "rows"}}
    compiled = dycl.compile(
        model, (x,), target="reference", dynamic_shapes=shapes, samples=4, output=tmp_path / "halving"
    )
    np.testing.assert_allclose(compiled(x[:2]), model(x[:2]).detach().numpy(), rtol=1e-5)
    program = "import halving, numpy, sys; halving.load()(numpy.ones((1, 4), 'float32')); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_wrong_export_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from dycl.targets.onnx import binding

    original = binding.export

    def wrong(*args: object) -> object:
        exported = original(*args)  # type: ignore[arg-type]
        for node in exported.model.graph.node:
            node.op_type = {"Cos": "Sin"}.get(node.op_type, node.op_type)
        return exported

    class Cosine(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cos(x)

    monkeypatch.setattr(binding, "export", wrong)
    with pytest.raises(TargetError, match="DY402"):
        dycl.compile(Cosine(), (torch.randn(4),), target="reference", cache=False)
