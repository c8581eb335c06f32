"""The invariants of the HCFG, each stated once; every stage's product is checked by all of them."""

from __future__ import annotations

from collections import deque

from dycl.diagnostics import InternalError
from dycl.ir.program import Program
from dycl.ir.scopechecks import (
    check_definitions,
    check_edges,
    check_ids,
    check_procedures,
    check_reachable,
    check_subgraph_values,
    check_uses,
    check_writes,
)
from dycl.ir.typechecks import (
    check_blocks,
    check_entries,
    check_initial,
    check_replies,
    check_signatures,
    check_subgraph_operations,
)

_CHECKS = (
    check_ids,
    check_edges,
    check_definitions,
    check_signatures,
    check_blocks,
    check_entries,
    check_initial,
    check_procedures,
    check_replies,
    check_subgraph_values,
    check_subgraph_operations,
    check_reachable,
    check_uses,
    check_writes,
)

_whole: deque[Program] = deque(maxlen=4)  # the programs that were found whole last


def verify(program: Program, *, after: str) -> None:
    """Raise one `InternalError` that names the stage and every broken invariant.

    A program never changes: one that was found whole is not looked at once more. (Verification runs one program from
    its beginning for every edge of it.)
    """
    if any(program is known for known in _whole):
        return
    breaks = dict.fromkeys(text for check in _CHECKS for text in check(program))
    if breaks:
        lines = "".join(f"\n  {text}" for text in breaks)
        raise InternalError(f"after {after}, the program {program.name} is broken:{lines}")
    _whole.append(program)
