"""Products with weights of eight bits (`--quantize dynamic-int8`).

A weight is stored as integers with a scale for each column; the other factor becomes integers in each call, by its own
least and largest element:

    y = MatMul(x, w)    ->    q, s, z = DynamicQuantizeLinear(x);    y = Cast(MatMulInteger(q, w8, z)) * (s * t)

with w ~ w8 * t. ONNX Runtime computes the right side as one kernel. `w8` lies within -64..64: processors without VNNI
add up two products of an unsigned and a signed byte in sixteen bits and cut off what is larger; 2 * 255 * 64 is not.
So every processor computes the same.

The method is that of Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference (CVPR 2018), with symmetric weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import onnx
import torch
from onnx import helper

from dycl.targets.onnx.binding import BoundProgram, BoundSubgraph
from dycl.targets.weights import WeightFile

SCHEMES = ("dynamic-int8",)
_LARGEST = 64
_LEAST_ELEMENTS = 1024  # of a weight that is worth it


@dataclass(frozen=True, slots=True)
class Quantized:
    """The program over smaller weights, and how many products of which subgraphs changed."""

    program: BoundProgram
    products: dict[str, int]


@dataclass(slots=True)
class _Structure:
    """A model that was rewritten, and of each quantised initializer its name and whether it is transposed."""

    model: onnx.ModelProto
    weights: dict[str, bool] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    products: int = 0


def quantize(bound: BoundProgram, read: Sequence[str]) -> Quantized:
    """The program with all products by large weights in eight bits; `read`: weights that the host itself reads."""
    structures: dict[int, _Structure] = {}
    weights = WeightFile()
    subgraphs = []
    products = {}
    for item in bound.subgraphs:
        model = item.model
        if id(model) not in structures:
            structures[id(model)] = _rewrite(model, [name for name, _ in item.initializers])
        found = structures[id(model)]
        subgraphs.append(_bind(item, found, bound.weights, weights))
        products[item.subgraph.name] = found.products
    for name in read:
        weights.add(name, bound.weights.tensor(name))
    return Quantized(BoundProgram(tuple(subgraphs), weights, bound.exported), products)


def _bind(item: BoundSubgraph, structure: _Structure, old: WeightFile, new: WeightFile) -> BoundSubgraph:
    """The subgraph over the rewritten model of its structure; its weights are stored."""
    initializers = []
    for name, weight in item.initializers:
        if name in structure.kept:
            new.add(weight, old.tensor(weight))
            initializers.append((name, weight))
        if name in structure.weights:
            is_transposed = structure.weights[name]
            parts = _integers(old.tensor(weight), is_transposed)
            for suffix, part in zip((".int8", ".scale"), parts, strict=True):
                stored = weight + (".transposed" if is_transposed else "") + suffix
                new.add(stored, part)
                initializers.append((name + suffix, stored))
    places = {stored.name: place for place, stored in enumerate(structure.model.graph.initializer)}
    initializers.sort(key=lambda initializer: places[initializer[0]])
    return replace(item, model=structure.model, initializers=tuple(initializers))


def _integers(weight: torch.Tensor, is_transposed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The weight as integers, a row for each element of the sum, and the scale of each column."""
    matrix = weight.T if is_transposed else weight
    scale = matrix.abs().amax(0) / _LARGEST
    scale = torch.where(scale > 0, scale, 1.0)
    return (matrix / scale).round().to(torch.int8).contiguous(), scale


# ---------------------------------------------------------------- the graph


def _rewrite(model: onnx.ModelProto, names: Sequence[str]) -> _Structure:
    """The model of a structure with its products rewritten. Only names and sizes of weights are looked at."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    found = _Structure(copy)
    weights = {item.name: item for item in graph.initializer if item.name in names and _is_worth_it(item)}
    turned = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose" and node.input[0] in weights
    }
    nodes = []
    for node in graph.node:
        product = _find_product(node, weights, turned)
        if product is None:
            nodes.append(node)
            continue
        name, is_transposed = product
        if found.weights.setdefault(name, is_transposed) is not is_transposed:
            nodes.append(node)  # both ways: it stays as it is in one of them
            continue
        found.products += 1
        nodes.extend(_in_integers(node, name))
    nodes = _without_unused(nodes, {item.name for item in graph.output})
    del graph.node[:]
    graph.node.extend(nodes)
    used = Counter(name for node in nodes for name in node.input)
    found.kept = {item.name for item in model.graph.initializer if used[item.name]}
    kept = [item for item in graph.initializer if used[item.name]]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for name, is_transposed in found.weights.items():
        rows, columns = weights[name].dims if not is_transposed else reversed(weights[name].dims)
        graph.initializer.append(_placeholder(name + ".int8", onnx.TensorProto.INT8, (rows, columns)))
        graph.initializer.append(_placeholder(name + ".scale", onnx.TensorProto.FLOAT, (columns,)))
    return found


def _is_worth_it(item: onnx.TensorProto) -> bool:
    is_matrix = len(item.dims) == 2 and item.data_type == onnx.TensorProto.FLOAT
    return is_matrix and item.dims[0] * item.dims[1] >= _LEAST_ELEMENTS


def _find_product(
    node: onnx.NodeProto, weights: dict[str, onnx.TensorProto], turned: dict[str, str]
) -> tuple[str, bool] | None:
    """The weight that the node multiplies by from the right, and whether it is transposed."""
    options = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if node.op_type == "MatMul":
        factor = node.input[1]
        return (factor, False) if factor in weights else (turned[factor], True) if factor in turned else None
    is_plain = node.op_type == "Gemm" and not options.get("transA") and options.get("alpha", 1.0) == 1.0
    if is_plain and node.input[1] in weights and options.get("beta", 1.0) == 1.0:
        return node.input[1], bool(options.get("transB"))
    return None


def _in_integers(node: onnx.NodeProto, weight: str) -> Iterator[onnx.NodeProto]:
    out = node.output[0]
    bias = node.input[2] if len(node.input) > 2 else ""
    q, s, z, total, floats, scale = (f"{out}/{part}" for part in ("q", "s", "z", "total", "floats", "scale"))
    yield helper.make_node("DynamicQuantizeLinear", [node.input[0]], [q, s, z])
    yield helper.make_node("MatMulInteger", [q, weight + ".int8", z], [total])
    yield helper.make_node("Cast", [total], [floats], to=onnx.TensorProto.FLOAT)
    yield helper.make_node("Mul", [s, weight + ".scale"], [scale])
    yield helper.make_node("Mul", [floats, scale], [f"{out}/product" if bias else out])
    if bias:
        yield helper.make_node("Add", [f"{out}/product", bias], [out])


def _without_unused(nodes: Sequence[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes without those whose results nobody takes any more: transposes of weights."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            for attribute in node.attribute:  # what subgraphs of control flow take from outside
                needed.update(name for inner in attribute.g.node for name in inner.input)
            kept.append(node)
    return kept[::-1]


def _placeholder(name: str, dtype: int, shape: Sequence[int]) -> onnx.TensorProto:
    """An initializer whose content lies in `weights.bin`, once it is bound."""
    return onnx.TensorProto(name=name, data_type=dtype, dims=list(shape), data_location=onnx.TensorProto.EXTERNAL)
