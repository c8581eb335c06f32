"""What leaves a call is fetched from the device: what it returns, and what the caller sees written."""

from __future__ import annotations

from dycl.ir.environment import Environment
from dycl.ir.nodes import HostOp, Return
from dycl.ir.parser import parse_ir
from dycl.ir.values import Ref
from dycl.passes import place

PROGRAM = """\
program Filler method forward
param x: positional_or_keyword = input 0: float32[2]
param found: positional_or_keyword = []
entry b0

subgraph s0 double (%0: float32[2]):
  %1: float32[2] = call torch.Tensor.mul(%0, 2)
  %2: float32[] = call torch.Tensor.sum(%1)
  results (%1, %2)

b0(%0 x: float32[2]):
  %1: float32[2], %2: float32[] = dispatch s0(%0)
  return 1 writes (fill x = %1, append found = (%2,))
"""


def test_what_the_caller_sees_written_is_fetched() -> None:
    placed = place.run(parse_ir(PROGRAM), Environment())
    (block,) = placed.blocks
    assert isinstance(block.end, Return)
    fetched = {op.result.id for op in block.ops if isinstance(op, HostOp) and op.function == "fetch"}
    written = [ref for write in block.end.writes for ref in write_refs(write.value)]
    assert len(written) == 2 and fetched.issuperset(written)


def write_refs(operand: object) -> list[int]:
    """The values in an operand of these writes."""
    return [operand.id] if isinstance(operand, Ref) else [item.id for item in operand.items]  # type: ignore[attr-defined]
