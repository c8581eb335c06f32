"""A program with two entries, a loop, a branch with both sides to one block, and a block that is never reached."""

from __future__ import annotations

from dycl.ir.parser import parse_ir

TANGLED = """\
program P method forward
initial (0)
entry b7 state 1
  slot count = %7
entry b4 state 1
subgraph s0 inner (%5: float32[]):
  %9: float32[] = call torch.relu(%5)
  results (%9)

b0(%20: int):
  %21: bool = host lt(%20, %70)
  branch %21 ? b2 : b6

b1:
  jump b0(1)

b2:
  %22 next: int = host add(%20, %70)
  branch %71 ? b0(%22) : b0(0)

b3:
  return None resume 0 state (0)

b4(%40: int):
  %41: float32[] = call torch.zeros(%40) mutates %41 -> %42: float32[]
  jump b3

b5:
  jump b3

b6:
  return (%20, [%70]) resume 1 state (%20)

b7(%7 count: int):
  %70: int = host add(%7, 1)
  %71: bool = host gt(%70, 3)
  branch %71 ? b5 : b0(%70)
"""
PROGRAM = parse_ir(TANGLED)
