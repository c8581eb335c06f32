"""Operators that torch's exporter lacks or converts wrongly, said in operators that it converts rightly.

A replacement is a plain function of tensors; it is traced with the types of the call it replaces, and its operations
take the place of the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

Replacement = Callable[..., Any]
REPLACEMENTS: dict[Any, Replacement] = {}


def replaces(*operators: Any) -> Callable[[Replacement], Replacement]:
    """Register what is traced in the place of these operators; NotImplemented leaves a call as it is.

    An operator that another package registers goes by its name.
    """

    def register(function: Replacement) -> Replacement:
        for operator in operators:
            REPLACEMENTS[operator] = function
        return function

    return register


def replace_operators(program: ExportedProgram) -> None:
    """Replace, in the program's graph, the calls of the operators that have a replacement."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        is_call = node.op == "call_function"
        function = REPLACEMENTS.get(node.target) or REPLACEMENTS.get(str(node.target)) if is_call else None
        if function is not None:
            _replace(graph, node, function)
    graph.lint()
    program.graph_module.recompile()


def _replace(graph: Graph, node: Node, function: Replacement) -> None:
    leaves, spec = pytree.tree_flatten((node.args, node.kwargs), is_leaf=lambda leaf: isinstance(leaf, Node))
    places = [index for index, leaf in enumerate(leaves) if isinstance(leaf, Node)]
    is_left = False

    def traced(*given: Any) -> Any:
        nonlocal is_left
        filled = list(leaves)
        for index, value in zip(places, given, strict=True):
            filled[index] = value
        args, kwargs = pytree.tree_unflatten(filled, spec)
        result = function(*args, **kwargs)
        is_left = result is NotImplemented
        return () if is_left else result

    values = [leaves[index].meta["val"] for index in places]
    mode = next(value.fake_mode for value in (*values, node.meta["val"]) if isinstance(value, FakeTensor))
    with mode:
        body = make_fx(traced, tracing_mode="real", pre_dispatch=False)(*values)
    if not is_left:
        _inline(graph, node, body, [leaves[index] for index in places])


def _inline(graph: Graph, node: Node, body: GraphModule, arguments: list[Node]) -> None:
    placeholders = [inner for inner in body.graph.nodes if inner.op == "placeholder"]
    copies: dict[Node, Node] = dict(zip(placeholders, arguments, strict=True))
    with graph.inserting_before(node):
        for inner in body.graph.nodes:
            if inner.op == "call_function":
                copies[inner] = graph.node_copy(inner, copies.__getitem__)
    results = body.graph.output_node().args[0]
    if isinstance(results, Node):
        node.replace_all_uses_with(copies[results])
    else:
        for user in list(node.users):  # each takes one of the results
            user.replace_all_uses_with(copies[results[user.args[1]]])  # type: ignore[index]
            graph.erase_node(user)
    graph.erase_node(node)
