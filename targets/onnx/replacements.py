"""Operators that torch's exporter lacks or converts wrongly, said in operators that it converts rightly.

A replacement is a plain function of tensors; it is traced with the types of the call it replaces, and its operations
take the place of the call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

_aten = torch.ops.aten

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


# ---------------------------------------------------------------- wrong in the exporter


@replaces(_aten.squeeze.dim, _aten.squeeze.dims)
def _squeeze(x: torch.Tensor, dim: int | list[int]) -> Any:
    """Only dimensions of size one go; the exporter squeezes those that are named, whatever their size."""
    dims = [d % max(x.dim(), 1) for d in ([dim] if isinstance(dim, int) else dim)]
    ones = [d for d in dims if x.dim() and x.shape[d] == 1]
    if len(ones) == len(dims) and x.dim():
        return NotImplemented
    return _aten.squeeze.dims(x, ones) if ones else _aten.alias.default(x)


@replaces(_aten.log_sigmoid.default)
def _log_sigmoid(x: torch.Tensor) -> torch.Tensor:
    """The exporter takes the logarithm of a sigmoid that has lost its digits far from zero."""
    return x.clamp(max=0) - torch.log1p(torch.exp(-x.abs()))


@replaces(_aten.scaled_dot_product_attention.default)
def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """The exporter knows four dimensions only and answers nan instead of 0 where a mask leaves nothing to attend to."""
    missing = max(4 - query.dim(), 0)
    if not missing and attn_mask is None:
        return NotImplemented
    query, key, value = (part[(None,) * missing] for part in (query, key, value))
    found = _aten.scaled_dot_product_attention.default(query, key, value, attn_mask, *args, **kwargs)
    if attn_mask is not None:
        is_open = attn_mask if attn_mask.dtype == torch.bool else attn_mask > -torch.inf
        found = torch.where(is_open.any(-1, keepdim=True), found, torch.zeros((), dtype=found.dtype))
    return found[(0,) * missing]


def _reduced(x: torch.Tensor, dim: Any) -> list[int] | None:
    """The dimensions of a reduction that may have nothing to reduce; None if it certainly has something."""
    dims = [d % max(x.dim(), 1) for d in ([dim] if isinstance(dim, int) else dim or range(x.dim()))]
    return None if all(isinstance(x.shape[d], int) and x.shape[d] for d in dims if x.dim()) else dims


@replaces(_aten.mean.default, _aten.mean.dim)
def _mean(x: torch.Tensor, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
    """The mean of nothing is nan; the target's is 0."""
    dims = _reduced(x, dim)
    if dims is None:
        return NotImplemented
    x = x if dtype is None else x.to(dtype)
    return x.sum(dims, keepdim) / torch.ones_like(x).sum(dims, keepdim)


@replaces(_aten.any.default, _aten.any.dim, _aten.any.dims)
def _any(x: torch.Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The target's largest of nothing is a very small number, which is not zero."""
    dims = _reduced(x, dim)
    return NotImplemented if dims is None else (x != 0).to(torch.int64).sum(dims, keepdim) > 0


@replaces(_aten.all.default, _aten.all.dim, _aten.all.dims)
def _all(x: torch.Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    dims = _reduced(x, dim)
    return NotImplemented if dims is None else (x == 0).to(torch.int64).sum(dims, keepdim) == 0


def _moments(x: torch.Tensor, dim: Any, correction: float | None, keepdim: bool) -> Any:
    """The variance, of nothing or of too little nan, and the mean."""
    dims = _reduced(x, dim)
    if dims is None:
        return None
    count = torch.ones_like(x).sum(dims, True)
    mean = x.sum(dims, True) / count
    free = (count - (1 if correction is None else correction)).clamp(min=0)
    variance = (x - mean).square().sum(dims, True) / free
    return (variance, mean) if keepdim else (variance.squeeze(dims), mean.squeeze(dims))


def _moment(pick: Callable[[torch.Tensor, torch.Tensor], Any], *operators: Any) -> None:
    """Register the operators of one statistic: its spread over `dim` with `correction`, or `unbiased` as of old."""

    @replaces(*operators)
    def _replacement(x: torch.Tensor, *args: Any, correction: float | None = None, **kwargs: Any) -> Any:
        dims, flags = (None, args) if args and isinstance(args[0], bool) else (args[0] if args else None, args[1:])
        dims = kwargs.pop("dim", dims)
        settings = dict(zip(("unbiased", "keepdim"), flags, strict=False)) | kwargs
        if not settings.get("unbiased", True):
            correction = 0
        found = _moments(x, dims, correction, settings.get("keepdim", False))
        return NotImplemented if found is None else pick(*found)


_moment(lambda v, m: v, _aten.var.correction, _aten.var.dim, _aten.var.default)
_moment(lambda v, m: v.sqrt(), _aten.std.correction, _aten.std.dim, _aten.std.default)
_moment(lambda v, m: (v, m), _aten.var_mean.correction, _aten.var_mean.dim, _aten.var_mean.default)
_moment(lambda v, m: (v.sqrt(), m), _aten.std_mean.correction, _aten.std_mean.dim, _aten.std_mean.default)


@replaces(_aten.sign.default)
def _sign(x: torch.Tensor) -> Any:
    # of nan it is 0 in torch
    return torch.where(x.isnan(), torch.zeros((), dtype=x.dtype), x.sign()) if x.is_floating_point() else NotImplemented


# ---------------------------------------------------------------- missing in the exporter


@replaces(_aten._cdist_forward.default, _aten.cdist.default)
def _cdist(x: torch.Tensor, y: torch.Tensor, p: float = 2.0, compute_mode: int | None = None) -> torch.Tensor:
    difference = (x.unsqueeze(-2) - y.unsqueeze(-3)).abs()
    if p == 2.0:
        return difference.square().sum(-1).sqrt()
    if p == 1.0:
        return difference.sum(-1)
    if p == 0.0:
        return (difference != 0).to(x.dtype).sum(-1)
    return difference.amax(-1) if p == float("inf") else difference.pow(p).sum(-1).pow(1.0 / p)


@replaces(_aten.fmax.default)
def _fmax(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.where(x.isnan(), y, torch.where(y.isnan(), x, torch.maximum(x, y))) if _floats(x, y) else x.maximum(y)


@replaces(_aten.fmin.default)
def _fmin(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.where(x.isnan(), y, torch.where(y.isnan(), x, torch.minimum(x, y))) if _floats(x, y) else x.minimum(y)


def _floats(*tensors: torch.Tensor) -> bool:
    return all(tensor.is_floating_point() for tensor in tensors)


@replaces(_aten.signbit.default)
def _signbit(x: torch.Tensor) -> torch.Tensor:
    return (x < 0) | ((x == 0) & (x.reciprocal() < 0)) if x.is_floating_point() else x < 0


@replaces(_aten.copysign.Tensor, _aten.copysign.Scalar)
def _copysign(x: torch.Tensor, y: torch.Tensor | float) -> torch.Tensor:
    dtype = torch.result_type(x, y) if torch.result_type(x, y).is_floating_point else torch.get_default_dtype()
    sign = torch.scalar_tensor(y, dtype=dtype) if not isinstance(y, torch.Tensor) else y
    magnitude = x.to(dtype).abs()
    return torch.where(_signbit(sign), -magnitude, magnitude)


@replaces(_aten.atan2.default)
def _atan2(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The exporter forgets the sign of a zero `y`, and what lies on the axes."""
    dtype = torch.result_type(y, x) if torch.result_type(y, x).is_floating_point else torch.get_default_dtype()
    y, x = y.to(dtype), x.to(dtype)
    corner = y.isinf() & x.isinf()
    y, x = torch.where(corner, y.sign(), y), torch.where(corner, x.sign(), x)
    half = torch.full_like(y, torch.pi / 2) + torch.zeros_like(x)
    turned = torch.where(_signbit(y), -2 * half, 2 * half)
    angle = torch.atan(y / x)
    left = torch.where(_signbit(y), -half, half) - torch.atan(x / y)
    on_axis = torch.where(_signbit(x), turned, y + torch.zeros_like(x))
    near_x = torch.where(x > 0, angle, torch.where(x < 0, angle + torch.where(y == 0, turned * 0, turned), angle))
    found = torch.where(y == 0, on_axis, torch.where(y.abs() > x.abs(), left, near_x))
    return torch.where(x.isnan(), x, found)


@replaces(_aten.cumprod.default)
def _cumprod(x: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Any:
    """Products over the lower triangle: n^2 numbers for n, which is right for zeros and signs alike."""
    if dtype is None:
        dtype = x.dtype if x.is_floating_point() else torch.int64
    if x.dim() == 0:
        return x.to(dtype)
    rows = x.to(dtype).movedim(dim, -1)
    masked = torch.where(_lower(rows), rows.unsqueeze(-2), torch.ones((), dtype=dtype))
    return masked.prod(-1).movedim(-1, dim)


def _lower(rows: torch.Tensor) -> torch.Tensor:
    places = torch.arange(rows.shape[-1])
    return places.unsqueeze(0) <= places.unsqueeze(1)


@replaces(_aten.cummax.default)
def _cummax(x: torch.Tensor, dim: int) -> Any:
    return _running(x, dim, 1)


@replaces(_aten.cummin.default)
def _cummin(x: torch.Tensor, dim: int) -> Any:
    return _running(x, dim, -1)


def _running(x: torch.Tensor, dim: int, sign: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest (or least) so far and where it stands last, by comparing every pair: n^2 for n."""
    if x.dim() == 0:
        return x.clone(), torch.zeros((), dtype=torch.int64)
    rows = x.movedim(dim, -1)
    left, right = rows.unsqueeze(-1), rows.unsqueeze(-2)
    beats = (left >= right) if sign > 0 else (left <= right)
    if x.is_floating_point():
        beats = beats | left.isnan()
    lower = _lower(rows)
    # An element is the best so far at its own place if it beats all before it; the last such place counts.
    best = (beats | ~lower).all(-1)
    places = torch.arange(rows.shape[-1])
    candidates = torch.where(best.unsqueeze(-2) & lower, places, torch.zeros((), dtype=torch.int64))
    index = candidates.amax(-1)
    return rows.gather(-1, index).movedim(-1, dim), index.movedim(-1, dim)


@replaces(_aten.searchsorted.Tensor, _aten.searchsorted.Scalar)
def _searchsorted(
    edges: torch.Tensor,
    values: torch.Tensor | float,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: torch.Tensor | None = None,
) -> Any:
    """Torch's binary search, step by step, so that even unsorted edges give the same answer."""
    if not isinstance(edges.shape[-1], int):
        return NotImplemented
    if sorter is not None:
        edges = edges.gather(-1, sorter)
    if not isinstance(values, torch.Tensor):
        values = torch.full((), values, dtype=edges.dtype)
    size = edges.shape[-1]
    dtype = torch.result_type(edges, values)
    found, row = values.to(dtype), edges.to(dtype)
    start, end = torch.zeros_like(values, dtype=torch.int64), torch.full_like(values, size, dtype=torch.int64)
    for _ in range(size.bit_length()):
        middle = (start + end) // 2
        place = middle.clamp(max=size - 1)
        edge = row[place] if row.dim() == 1 else row.gather(-1, place)
        stays = edge > found if right or side == "right" else edge >= found
        is_open = start < end
        start, end = torch.where(is_open & ~stays, middle + 1, start), torch.where(is_open & stays, middle, end)
    return start.to(torch.int32 if out_int32 else torch.int64)


@replaces(_aten.bucketize.Tensor, _aten.bucketize.Scalar)
def _bucketize(
    values: torch.Tensor | float, edges: torch.Tensor, *, out_int32: bool = False, right: bool = False
) -> Any:
    return _searchsorted(edges, values, out_int32=out_int32, right=right)


@replaces(_aten.kthvalue.default)
def _kthvalue(x: torch.Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    if x.dim() == 0:
        return x.clone(), torch.zeros((), dtype=torch.int64)
    values, indices = _aten.sort.default(x, dim)  # ONNX breaks ties by place
    picked = values.select(dim, k - 1), indices.select(dim, k - 1)
    return tuple(part.unsqueeze(dim) for part in picked) if keepdim else picked


@replaces(_aten.sort.stable)
def _sort(x: torch.Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """ONNX breaks ties by place, whichever way it sorts."""
    return _aten.sort.default(x, dim, descending)


@replaces(_aten.argsort.stable)
def _argsort(x: torch.Tensor, *, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    return _aten.sort.default(x, dim, descending)[1]


# ---------------------------------------------------------------- missing in ONNX Runtime


@replaces(_aten.cat.default)
def _cat(tensors: list[torch.Tensor], dim: int = 0) -> Any:
    """The exporter drops empty rows, with the type that they ask for, and fails where nothing is left."""
    filled = [tensor for tensor in tensors if not _is_empty_row(tensor)]
    if len(filled) == len(tensors):
        return NotImplemented
    dtype = functools.reduce(torch.promote_types, [tensor.dtype for tensor in tensors])
    typed = [tensor.to(dtype) for tensor in filled]
    if len(typed) > 1:
        return torch.cat(typed, dim)
    return (typed or tensors)[0].to(dtype, copy=True)


def _is_empty_row(tensor: torch.Tensor) -> bool:
    return tensor.dim() == 1 and isinstance(tensor.shape[0], int) and tensor.shape[0] == 0


@replaces(_aten.addmm.default)
def _addmm(bias: torch.Tensor, left: torch.Tensor, right: torch.Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    return NotImplemented if left.is_floating_point() else beta * bias + alpha * (left @ right)


@replaces(_aten.softmax.int, _aten._softmax.default)
def _softmax(x: torch.Tensor, dim: int, dtype: Any = None) -> Any:
    return NotImplemented if x.is_floating_point() else _aten.softmax.int(x.to(dtype or torch.get_default_dtype()), dim)


@replaces(_aten.ceil.default, _aten.floor.default, _aten.round.default, _aten.trunc.default)
def _rounded(x: torch.Tensor) -> Any:
    return NotImplemented if x.is_floating_point() else _aten.alias.default(x)


@replaces(_aten.isnan.default, _aten.isinf.default)
def _never(x: torch.Tensor) -> Any:
    return NotImplemented if x.is_floating_point() else torch.zeros_like(x, dtype=torch.bool)


@replaces(_aten.isfinite.default)
def _always(x: torch.Tensor) -> Any:
    return NotImplemented if x.is_floating_point() else torch.ones_like(x, dtype=torch.bool)


@replaces(_aten.linear.default)
def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Any:
    if x.is_floating_point():
        return NotImplemented
    return x @ weight.mT if bias is None else x @ weight.mT + bias
