"""Which parts of a host decide anything: these need what records decisions, and hand it on to what they invoke."""

from __future__ import annotations

from dycl.ir.graph import find_owners
from dycl.ir.nodes import Branch, Invoke
from dycl.ir.program import Program
from dycl.ir.values import ProcedureId


def find_deciding(program: Program) -> frozenset[ProcedureId | None]:
    """The procedures that decide, themselves or in those that they invoke; None among them: the method does."""
    owners = find_owners(program)
    found: set[ProcedureId | None] = set()
    callers: dict[ProcedureId, set[ProcedureId | None]] = {}
    for block in program.blocks:
        own = owners.get(block.id, frozenset())
        if isinstance(block.end, Branch):
            found |= own
        for op in block.ops:
            if isinstance(op, Invoke):
                callers.setdefault(op.procedure, set()).update(own)
    pending = list(found)
    while pending:
        part = pending.pop()
        new = callers.get(part, set()) - found if part is not None else set()
        found |= new
        pending += new
    return frozenset(found)
