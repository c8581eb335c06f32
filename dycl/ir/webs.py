"""Webs: the names that may be of one value, and whether anybody but subgraphs looks into it under any of them.

A parameter of a block is one web with the arguments that it gets, and with all that these are one with. A value that
somebody looks at under one of its names is *shown* under all of them::

    b0(%0 x: float32[4]):
      %1: float32[4] = dispatch s0(%0)
      jump b1(%1)

    b1(%2: float32[4]):
      %3: float32[4], %4: float32[] = dispatch s1(%2)
      %5: bool = host gt(%4, 0.0)
      branch %5 ? b1(%3) : b2

    b2:
      %6: float32[] = dispatch s2(%3)
      return %6

%1, %2 and %3 are one web, which is hidden. The caller sees %0 and %6, the host %4 and %5.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import assert_never

import networkx as nx  # type: ignore[import-untyped]

from dycl.ir.dataflow import edge_bindings, end_uses, op_definitions, op_uses
from dycl.ir.graph import entry_blocks
from dycl.ir.nodes import Block, Branch, Dispatch, HostOp, Jump, Raise, Reply, Return
from dycl.ir.program import Program
from dycl.ir.values import Ref, ValueId, refs


class Webs:
    """Which names are one web, and which of them are shown."""

    def __init__(self) -> None:
        self._graph = nx.Graph()
        self._shown: set[ValueId] = set()

    def unite(self, values: Iterable[ValueId]) -> None:
        """These may be names of one value, or whoever sees one of them may see the others."""
        nx.add_path(self._graph, values)

    def show(self, values: Iterable[ValueId]) -> None:
        """Somebody else than a subgraph sees these."""
        self._shown.update(values)

    def follow(self, program: Program, block: Block) -> None:
        """What the block hands to the next ones is one with their parameters; what it decides or ends with is shown."""
        match block.end:
            case Branch(cond=cond):
                self.show([cond])
            case Return() | Raise() | Reply():
                self.show(end_uses(block.end))
            case Jump():
                pass
            case _:
                assert_never(block.end)
        for param, arg in edge_bindings(program, block):
            self.unite([param.id, *refs(arg)])
            if not isinstance(arg, Ref):  # the host puts it together
                self.show([param.id])

    def hidden(self) -> Iterator[frozenset[ValueId]]:
        """The webs that nobody but subgraphs sees."""
        for web in nx.connected_components(self._graph):
            if self._shown.isdisjoint(web):
                yield frozenset(web)


def find_webs(program: Program, *, unheeded: Collection[str]) -> Webs:
    """The webs of all values.

    What a call passes is shown, and so is what the host makes or uses; what it asks by functions that are `unheeded`
    stays hidden.
    """
    webs = Webs()
    starts = entry_blocks(program)
    for block in program.blocks:
        webs.show(param.id for param in block.params if block.id in starts)
        for op in block.ops:
            if isinstance(op, Dispatch):
                _follow_dispatch(webs, op)
                continue
            webs.show(value.id for value in op_definitions(op))
            if not isinstance(op, HostOp) or op.function not in unheeded:
                webs.show(op_uses(op))
        webs.follow(program, block)
    return webs


def _follow_dispatch(webs: Webs, op: Dispatch) -> None:
    for result in op.results:
        webs.unite([result.id])
    for arg in op.args:
        if not isinstance(arg, Ref):  # the host puts it together
            webs.show(refs(arg))
