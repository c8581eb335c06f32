"""What the tests of the driver share: a small dynamic model as source, and its program written by hand.

The programs stand in for the specializer's, so that the driver is tested alone: `Specialized` replaces `specialize`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from dycl.ir.environment import Environment
from dycl.ir.parser import parse_ir
from dycl.ir.program import Program

GATE_SOURCE = '''\
"""A gate: the input decides whether the first layer runs."""

import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.widen = nn.Linear(3, 3)
        self.head = nn.Linear(3, 2)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        score = x.sum()
        if score.item() > 0.5:
            x = self.widen(x)
        if self.calls > 1000:
            x = x + 1
        return {"logits": self.head(x), "score": score.item()}


def build():
    torch.manual_seed(0)
    return Gate().eval()


def example_inputs():
    return (torch.ones(1, 3),)


def sample_inputs(seed):
    return (torch.randn(1, 3, generator=torch.Generator().manual_seed(seed)),)
'''

GATE_PROGRAM = """\
program Gate method forward
file f0 = '{path}'
source '{path}' sha256 'SHA'
param x: positional_or_keyword = input 0: float32[1, 3]
initial (0)
entry b0 state 1
  slot calls = %1

b0(%0 x: float32[1, 3], %1 calls: int):
  %2 calls: int = host add(%1, 1)  @f0:15:8-15:23 Gate.forward
  %3 score: float32[] = call torch.Tensor.sum(%0)  @f0:16:16-16:23 Gate.forward
  %4: float = host item(%3)  @f0:17:11-17:23 Gate.forward
  %5: bool = host gt(%4, 0.5)  @f0:17:11-17:29 Gate.forward
  branch %5 ? b1 : b2(%0)  @f0:17:11-17:29 Gate.forward

b1:
  %6 x: float32[1, 3] = module widen(%0)  @f0:18:16-18:30 Gate.forward
  jump b2(%6)

b2(%7 x: float32[1, 3]):
  %8: bool = host gt(%2, 1000)  @f0:19:11-19:28 Gate.forward
  branch %8 ? b3 : b4(%7)  @f0:19:11-19:28 Gate.forward

b3:
  %9 x: float32[1, 3] = call torch.Tensor.add(%7, 1)  @f0:20:16-20:21 Gate.forward
  jump b4(%9)

b4(%10 x: float32[1, 3]):
  %11: float32[1, 2] = module head(%10)  @f0:21:26-21:38 Gate.forward
  return {{'logits': %11, 'score': %4}} resume 0 state (%2)
"""


@dataclass(frozen=True, slots=True)
class Specialization:
    """What `specialize` returns, made by hand."""

    program: Program
    environment: Environment
    seconds: float = 0.0


@dataclass(slots=True)
class Specialized:
    """A specializer that knows one program; `text` may be changed to make it a wrong one."""

    text: str
    path: Path

    def __call__(self, model: nn.Module, args: Any, kwargs: Any, **options: Any) -> Specialization:
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        program = parse_ir(self.text.format(path=self.path).replace("SHA", digest))
        return Specialization(program, Environment(modules=dict(model.named_children())))


def write_gate(directory: Path) -> Path:
    """The file of the gate model."""
    path = directory / "gate.py"
    path.write_text(GATE_SOURCE, encoding="utf-8")
    return path


def replace_specializer(monkeypatch: Any, pipeline: ModuleType, path: Path, text: str = GATE_PROGRAM) -> Specialized:
    """Put the hand-written program in the specializer's place."""
    fake = Specialized(text, path)
    monkeypatch.setattr(pipeline, "specialize", fake)
    return fake
