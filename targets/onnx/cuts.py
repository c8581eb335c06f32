"""Sizes of what is cut out: how long a cut is has been said, and of how much it was cut is known."""

from __future__ import annotations

import torch
from torch.export import ExportedProgram
from torch.fx import Node

_NARROW = torch.ops.aten.narrow.default
_SIZE = torch.ops.aten.sym_size.int


def take_cut_sizes(program: ExportedProgram) -> None:
    """Replace, in the program's graph, the size of a cut by the length it was cut to; torch gives no other."""
    graph = program.graph_module.graph
    lengths: dict[object, Node] = {}  # by how torch calls the sizes of cuts
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is _NARROW:
            _, dim, _, length = node.args
            size = _size(node, dim)
            if isinstance(length, Node) and size is not None:
                lengths[size] = length
        elif node.op == "call_function" and node.target is _SIZE:
            known = lengths.get(_size(*node.args))
            if known is not None:
                node.replace_all_uses_with(known)
                graph.erase_node(node)
    graph.lint()
    program.graph_module.recompile()


def _size(tensor: object, dim: object) -> object:
    """What torch calls a run-time size of a tensor; None if it has no name of its own."""
    shape = getattr(tensor.meta.get("val"), "shape", None) if isinstance(tensor, Node) else None
    size = shape[dim] if shape is not None and isinstance(dim, int) else None
    return size.node.expr if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol else None


def find_most(size: int) -> int | None:
    """The largest that a run-time size can be, as far as torch knows: a cut is no longer than what it is cut from."""
    node = getattr(size, "node", None)
    if node is None or node.shape_env is None:
        return None
    upper = node.shape_env.bound_sympy(node.expr).upper
    return int(upper) if upper.is_Integer else None
