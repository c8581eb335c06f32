"""Take out of an exported model what its conversion rules leave there although it does nothing, or something simpler.

The rule for `x[index]` is written for any number of indices at any place. For one index it gives two transposes that
change no order, the largest of one tensor, an expansion to a size that is there already, and a `GatherND` that is a
`Gather`; ONNX Runtime keeps all but the last as kernels, each of which takes as long as the look-up itself.

Before::

    a = Transpose(x, perm=[0, 1])    c = Expand(index, Shape(Max(index)))
    y = Transpose(GatherND(a, Unsqueeze(c, -1)), perm=[0, 1])

After::

    y = Gather(x, index)

Where the index is not of the first dimension, the transposes bring that to the front and back; `Gather` takes any.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir

_KEEP_TYPE = frozenset(["Gather", "Identity", "InstanceNormalization", "Reshape", "Squeeze", "Transpose", "Unsqueeze"])
_OF_SEVERAL = frozenset(["Max", "Min", "Sum", "Mean", "Concat"])


def tidy(model: onnx_ir.Model) -> None:
    """Simplify the nodes that fit a rule; what does nothing becomes an `Identity`, which others remove."""
    for node in list(model.graph.all_nodes()):
        if node.domain not in ("", "ai.onnx"):
            continue
        if _does_nothing(node):
            node.op_type = "Identity"
            node.attributes.clear()
            node.resize_inputs(1)
        elif node.op_type == "GatherND":
            _make_gather(node)
        elif node.op_type == "Transpose":
            _turn_gather(node)


def _does_nothing(node: onnx_ir.Node) -> bool:
    match node.op_type:
        case "Transpose":
            order = node.attributes.get("perm")
            return order is not None and list(order.as_ints()) == list(range(len(order.as_ints())))
        case "Expand":
            return _is_size_of(node.inputs[1], _source(node.inputs[0]))
        case "Cast":
            return _dtype(node.inputs[0]) == node.attributes["to"].as_int()
        case "CastLike":
            dtype = _dtype(node.inputs[0])
            return dtype is not None and dtype == _dtype(node.inputs[1])
        case name:
            return name in _OF_SEVERAL and len(node.inputs) == 1


def _dtype(value: onnx_ir.Value | None) -> onnx_ir.DataType | None:
    """The type of a value's elements; inside of what was inlined none is noted, so it is sought further up."""
    while value is not None:
        if value.dtype is not None:
            return value.dtype
        producer = value.producer()
        if producer is None or producer.op_type not in _KEEP_TYPE or producer.domain not in ("", "ai.onnx"):
            return None
        value = producer.inputs[0]
    return None


def _is_size_of(size: onnx_ir.Value | None, value: onnx_ir.Value | None) -> bool:
    """Whether a value is the whole shape of another."""
    producer = None if size is None else size.producer()
    if producer is None or producer.op_type != "Shape" or value is None:
        return False
    start, end = producer.attributes.get("start"), producer.attributes.get("end")
    return (start is None or start.as_int() == 0) and end is None and _source(producer.inputs[0]) is value


def _make_gather(node: onnx_ir.Node) -> None:
    """One index along the first dimension is what `Gather` takes."""
    batch = node.attributes.get("batch_dims")
    column = _source(node.inputs[1])
    unsqueeze = None if column is None else column.producer()
    if (batch is not None and batch.as_int()) or unsqueeze is None or unsqueeze.op_type != "Unsqueeze":
        return
    axes = unsqueeze.inputs[1]
    constant = None if axes is None else onnx_ir.convenience.get_const_tensor(axes)
    if constant is None or constant.numpy().tolist() != [-1]:
        return
    node.op_type = "Gather"
    node.attributes.clear()
    node.attributes.add(onnx_ir.AttrInt64("axis", 0))
    node.replace_input_with(1, unsqueeze.inputs[0])


def _turn_gather(node: onnx_ir.Node) -> None:
    """A look-up in the first dimension, which another one has been made for that, is one in the other."""
    gathered = _source(node.inputs[0])
    gather = None if gathered is None else gathered.producer()
    along = None if gather is None else gather.attributes.get("axis")  # the first dimension, where it is not said
    if gather is None or gather.op_type != "Gather" or (along is not None and along.as_int()):
        return
    turned, index = _source(gather.inputs[0]), gather.inputs[1]
    turn = None if turned is None else turned.producer()
    if turn is None or turn.op_type != "Transpose" or not {"perm"} <= turn.attributes.keys() & node.attributes.keys():
        return
    there, back = (list(each.attributes["perm"].as_ints()) for each in (turn, node))
    axis, width = there[0], len(back) - len(there) + 1  # of the index
    others = list(range(width, len(back)))
    if there[1:] == sorted(there[1:]) and back == [*others[:axis], *range(width), *others[axis:]]:
        node.op_type = "Gather"
        node.attributes.clear()
        node.attributes.add(onnx_ir.AttrInt64("axis", axis))
        node.resize_inputs(2)
        node.replace_input_with(0, turn.inputs[0])
        node.replace_input_with(1, index)


def _source(value: onnx_ir.Value | None) -> onnx_ir.Value | None:
    """The value itself, behind nodes that do nothing."""
    while value is not None and (producer := value.producer()) is not None and producer.op_type == "Identity":
        value = producer.inputs[0]
    return value


def split_weights(model: onnx_ir.Model) -> None:
    """Slices that together are all of a weight become one `Split`, once their bounds are known.

    The rule for recurrent layers puts the gates of each weight in another order so, with four slices of each.
    """
    for weight in list(model.graph.initializers.values()):
        cuts: dict[int, list[tuple[int, int, onnx_ir.Node]]] = {}
        for node in weight.consumers():
            bounds = _bounds(node, weight) if node.op_type == "Slice" and node.graph is model.graph else None
            if bounds is not None:
                axis, start, end = bounds
                cuts.setdefault(axis, []).append((start, end, node))
        for axis, pieces in cuts.items():
            pieces.sort(key=lambda piece: piece[:2])
            starts, ends = [start for start, _, _ in pieces], [end for _, end, _ in pieces]
            if len(pieces) > 1 and starts == [0, *ends[:-1]] and ends[-1] == _sizes(weight)[axis]:
                _split(model, weight, axis, [node for _, _, node in pieces])


def _bounds(node: onnx_ir.Node, weight: onnx_ir.Value) -> tuple[int, int, int] | None:
    """Axis, start and end of a slice of a weight along one axis, in steps of one."""
    inputs = (*node.inputs, *[None] * 5)[:5]
    found = [None if value is None else onnx_ir.convenience.get_const_tensor(value) for value in inputs[1:]]
    numbers = [None if tensor is None else tensor.numpy().reshape(-1).tolist() for tensor in found]
    starts, ends, axes, steps = numbers
    if inputs[0] is not weight or starts is None or ends is None or axes is None:
        return None
    if any(len(each) != 1 for each in (starts, ends, axes)) or (inputs[4] is not None and steps != [1]):
        return None
    sizes = _sizes(weight)
    axis = axes[0] + (len(sizes) if axes[0] < 0 else 0)
    size = sizes[axis]
    start, end = (min(max(bound + (size if bound < 0 else 0), 0), size) for bound in (starts[0], ends[0]))
    return (axis, start, end) if start < end else None


def _sizes(weight: onnx_ir.Value) -> list[int]:
    assert weight.const_value is not None
    return list(weight.const_value.shape.numpy())


def _split(model: onnx_ir.Model, weight: onnx_ir.Value, axis: int, pieces: Sequence[onnx_ir.Node]) -> None:
    """Put a split before the first of the slices, and its results in their places."""
    sizes = [bounds[2] - bounds[1] for node in pieces if (bounds := _bounds(node, weight)) is not None]
    name = pieces[0].outputs[0].name
    first = next(node for node in model.graph if node in set(pieces))
    lengths = onnx_ir.Value(name=f"{name}_sizes", const_value=onnx_ir.tensor(sizes, onnx_ir.DataType.INT64))
    model.graph.register_initializer(lengths)
    attributes = [onnx_ir.AttrInt64("axis", axis)]
    split = onnx_ir.Node(
        "", "Split", [weight, lengths], attributes, num_outputs=len(pieces), name=f"{first.name}_split"
    )
    model.graph.insert_before(first, split)
    for index, (node, made) in enumerate(zip(pieces, split.outputs, strict=True)):
        old = node.outputs[0]
        made.name, made.type, made.shape = f"{name}_piece{index}", old.type, old.shape
        onnx_ir.convenience.replace_all_uses_with(old, made, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
