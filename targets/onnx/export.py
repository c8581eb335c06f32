"""One subgraph to an ONNX model: torch.export, our rewrite of run-time floats, torch's ONNX exporter.

The model that comes out holds no weight data. Its initializers are named after the tensors of the `SubgraphModule`
they came from, one to one: nothing is folded into new initializers here (ONNX Runtime does that when it loads), so that
the same model serves every subgraph of equal structure with other weights.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir
import torch
from onnx_ir.passes import common as ir_passes
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind

from dycl.diagnostics import InternalError
from dycl.ir.nodes import Subgraph
from dycl.ir.values import (
    ArrayType,
    DictType,
    ListType,
    ObjectType,
    ScalarKind,
    ScalarType,
    StructType,
    TensorType,
    UnionType,
)
from dycl.targets.base import StoredWeight, refuse
from dycl.targets.module import SubgraphModule
from dycl.targets.onnx import bools as _bools  # noqa: F401  (registers its replacements)
from dycl.targets.onnx import boxes as _boxes  # noqa: F401  (registers its replacements)
from dycl.targets.onnx import corrections as _corrections  # noqa: F401  (registers its replacements)
from dycl.targets.onnx import einsum as _einsum  # noqa: F401  (registers its replacements)
from dycl.targets.onnx import extremes as _extremes  # noqa: F401  (registers its replacements)
from dycl.targets.onnx import pooling as _pooling  # noqa: F401  (registers its replacements)
from dycl.targets.onnx import supplements as _supplements  # noqa: F401  (registers its replacements)
from dycl.targets.onnx.compact import drop_defaults, merge_constants, number_values
from dycl.targets.onnx.cuts import take_cut_sizes
from dycl.targets.onnx.division import rewrite_divisions
from dycl.targets.onnx.numbers import simplify_numbers
from dycl.targets.onnx.opset import convert_opset
from dycl.targets.onnx.promotion import rewrite_float_scalars
from dycl.targets.onnx.replacements import replace_operators
from dycl.targets.onnx.tables import kept_tables, registry
from dycl.targets.onnx.tidy import split_weights, tidy
from dycl.targets.samples import export_inputs
from dycl.targets.tracing import exporting
from dycl.targets.weights import FILE_NAME

_INLINE_BYTES = 1024  # larger constants go into weights.bin

_RANDOM_OPS = frozenset(
    ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"]
)

SUPPORTED_DTYPES = frozenset(["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"])


@dataclass(frozen=True, slots=True)
class Exported:
    """An ONNX model without weight data, and the tensor each of its initializers stands for, in graph order.

    `model` serialises to the same bytes in every process. Small constants of the graph itself are kept inside it;
    `constants`: some of its tensors are neither parameters nor buffers, but attributes of a module.
    """

    model: onnx.ModelProto
    tensors: tuple[tuple[str, torch.Tensor], ...]
    constants: bool


def export(subgraph: Subgraph, module: SubgraphModule, opset: int = 0) -> Exported:
    """The subgraph as an ONNX model; what cannot be exported is a `TargetError` that says where.

    `opset`: the version of the operators, if not the exporter's own.
    """
    program = _export_program(subgraph, module)
    rewrite_float_scalars(subgraph, program)
    rewrite_divisions(program)
    replace_operators(program)
    take_cut_sizes(program)
    model = _convert(subgraph, program)
    tensors = _detach_weights(program, model, module)
    tidy(model)
    _simplify(model)
    split_weights(model)
    simplify_numbers(model)
    convert_opset(subgraph, model, opset)
    merge_constants(model)
    tensors = {name: tensor for name, tensor in tensors.items() if name in model.graph.initializers}
    return Exported(_to_proto(subgraph, model), tuple(tensors.items()), _has_plain_tensors(module))


def bind_weights(model: onnx.ModelProto, stored: Mapping[str, StoredWeight]) -> onnx.ModelProto:
    """A copy of the model whose initializers of these names point into `weights.bin`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for initializer in copy.graph.initializer:
        weight = stored.get(initializer.name)
        if weight is None:
            continue
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(initializer.data_type))
        if (dtype, tuple(initializer.dims)) != (weight.dtype, weight.shape):
            raise InternalError(f"initializer {initializer.name} cannot be bound to {weight}")
        del initializer.external_data[:]
        length = math.prod(weight.shape) * np.dtype(dtype).itemsize
        for key, value in (("location", FILE_NAME), ("offset", weight.offset), ("length", length)):
            initializer.external_data.add(key=key, value=str(value))
    return copy


def check_types(subgraph: Subgraph) -> None:
    """Refuse by name what ONNX Runtime's CPU provider cannot take."""
    for param in subgraph.params:
        match param.type:
            case TensorType(dtype=dtype):
                _check_dtype(subgraph, f"input {param.name or param.id!r}", dtype)
            case (
                ScalarType(kind=ScalarKind.STR)
                | ListType()
                | DictType()
                | ArrayType()
                | StructType()
                | ObjectType()
                | UnionType()
            ):
                raise refuse(subgraph, f"input {param.name or param.id!r} is {param.type}, not a tensor or a number")
            case ScalarType():
                pass
    handed_out = set(subgraph.results)
    for op in subgraph.ops:
        for result in op.results:
            # Complex numbers inside are pairs of real ones to the exporter; at the border there is no such pair.
            inside = result.id not in handed_out and "complex" in str(result.type)
            if isinstance(result.type, TensorType) and not inside:
                _check_dtype(subgraph, f"{result.name or op.target}", result.type.dtype)


def check_weights(subgraph: Subgraph, module: SubgraphModule) -> None:
    """Refuse weights of a type that the target does not have."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        _check_dtype(subgraph, f"weight {name}", str(tensor.dtype).removeprefix("torch."))


def _check_dtype(subgraph: Subgraph, what: str, dtype: str) -> None:
    if dtype not in SUPPORTED_DTYPES:
        hint = "convert the model to float32 first" if "float" in dtype else ""
        raise refuse(subgraph, f"{what} has the type {dtype}, which ONNX Runtime does not compute on the CPU", hint)


# ---------------------------------------------------------------- torch.export


def _export_program(subgraph: Subgraph, module: SubgraphModule) -> ExportedProgram:
    inputs = export_inputs(subgraph)
    dynamic = tuple(_dynamic_dims(param.type) for param in subgraph.params)
    shapes = {"inputs": dynamic} if dynamic else None  # work on weights alone has no inputs
    try:
        with _quiet(), exporting(subgraph):
            return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    except InternalError:
        raise
    except Exception as error:  # whatever a model's own code and torch may raise; nothing is carried on
        raise refuse(subgraph, f"torch.export fails: {_first_line(error)}") from error


def _dynamic_dims(type_: object) -> dict[int, object] | None:
    if not isinstance(type_, TensorType):
        return None
    return {i: torch.export.Dim.DYNAMIC for i, dim in enumerate(type_.shape) if isinstance(dim, str)}


# ---------------------------------------------------------------- ONNX


def _convert(subgraph: Subgraph, program: ExportedProgram) -> onnx_ir.Model:
    try:
        with _quiet(), exporting(subgraph):
            model = _to_ir(program)
    except Exception as error:  # the exporter wraps whatever its conversion functions raise
        raise refuse(subgraph, f"torch.onnx fails: {_root_message(error)}") from error
    ir_passes.InlinePass()(model)
    _check_effects(subgraph, model)
    return model


def _simplify(model: onnx_ir.Model) -> None:
    """Fold what depends on constants of the graph alone; what reads a weight stays, whatever it is."""
    from onnxscript.optimizer._constant_folding import FoldConstantsPass  # takes a second, which reuse does not need

    weights = {
        value for value in model.graph.initializers.values() if isinstance(value.const_value, onnx_ir.ExternalTensor)
    }
    passes = onnx_ir.passes.Sequential(
        FoldConstantsPass(
            shape_inference=False,
            input_size_limit=_INLINE_BYTES,
            output_size_limit=_INLINE_BYTES,
            should_fold=lambda node: False if any(value in weights for value in node.inputs) else None,
        ),
        ir_passes.IdentityEliminationPass(),
        ir_passes.CommonSubexpressionEliminationPass(),
        ir_passes.RemoveUnusedNodesPass(),
        ir_passes.RemoveUnusedOpsetsPass(),
    )
    with _quiet():
        passes(model)


def _check_effects(subgraph: Subgraph, model: onnx_ir.Model) -> None:
    """Refuse what a graph of pure values loses: a write into a weight, a random number."""
    for node in model.graph.all_nodes():
        if node.op_type in _RANDOM_OPS:
            raise refuse(subgraph, f"{node.op_type} draws random numbers")
        for value in node.outputs:
            kind = value.metadata_props.get("pkg.torch.export.graph_signature.OutputSpec.kind", "")
            if kind in (OutputKind.BUFFER_MUTATION.name, OutputKind.PARAMETER_MUTATION.name):
                raise refuse(subgraph, "a weight is written, and the write is not part of the program")


def _to_ir(program: ExportedProgram) -> onnx_ir.Model:
    """The exporter's graph before any optimisation.

    `torch.onnx.export` builds its table of 600 conversion functions anew at each call, which is two thirds of the time
    of a small subgraph; the exporter's inner function takes a table that is built once, and so are its other tables.
    """
    try:
        from torch.onnx._internal.exporter._core import exported_program_to_ir
    except ImportError:  # another version of torch: the public way, slower
        converted = torch.onnx.export(program, dynamo=True, optimize=False, verbose=False)
        assert converted is not None
        return converted.model
    with kept_tables():
        return exported_program_to_ir(program, registry=registry())


def _detach_weights(program: ExportedProgram, model: onnx_ir.Model, module: SubgraphModule) -> dict[str, torch.Tensor]:
    """The module's tensor behind each initializer; small constants of the graph are not among them.

    The initializer then points to data that is not there: no simplification can look at the numbers of one subgraph and
    change the model that its likes share.
    """
    tensors = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    for name, constant in program.constants.items():
        if isinstance(constant, torch.Tensor) and constant.nbytes > _INLINE_BYTES:
            tensors.setdefault(name, constant)
    found = {name: tensors[name] for name in model.graph.initializers if name in tensors}
    for name, tensor in found.items():
        value = model.graph.initializers[name]
        assert value.const_value is not None
        shape = onnx_ir.Shape(tensor.shape)
        value.const_value = onnx_ir.ExternalTensor(FILE_NAME, 0, 0, value.const_value.dtype, shape=shape, name=name)
    return found


def _has_plain_tensors(module: torch.nn.Module) -> bool:
    return any(isinstance(value, torch.Tensor) for sub in module.modules() for value in vars(sub).values())


def _to_proto(subgraph: Subgraph, model: onnx_ir.Model) -> onnx.ModelProto:
    """The model without anything that differs from one run or machine to the next."""
    ir_passes.ClearMetadataAndDocStringPass()(model)
    _name_ports(subgraph, model)
    number_values(model)
    model.graph.name = "subgraph"
    model.producer_name, model.producer_version = "dycl", None
    proto = onnx_ir.to_proto(model)
    for named in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del named.metadata_props[:]
    del proto.graph.value_info[:]
    del proto.metadata_props[:]
    drop_defaults(proto)
    return proto


def _name_ports(subgraph: Subgraph, model: onnx_ir.Model) -> None:
    """Call the inputs in0, in1, ... and the outputs out0, out1, ...: each output a value of its own.

    Run-time sizes get the program's names in inputs and none in outputs, instead of the exporter's symbols.
    """
    for index, (value, param) in enumerate(zip(model.graph.inputs, subgraph.params, strict=True)):
        value.name = f"in{index}"
        if isinstance(param.type, TensorType):
            value.shape = onnx_ir.Shape(param.type.shape)
    for index, value in enumerate(list(model.graph.outputs)):
        node = onnx_ir.node("Identity", [value], name=f"out{index}_identity")
        output = node.outputs[0]
        output.name, output.type, output.shape = f"out{index}", value.type, value.shape
        producer = value.producer()
        if producer is None or value.is_graph_input() or value in list(model.graph.outputs)[:index]:
            model.graph.append(node)
            model.graph.outputs[index] = output
        else:
            value.name = f"out{index}"
    for value in model.graph.outputs:
        if value.shape is not None:
            value.shape = onnx_ir.Shape([dim if isinstance(dim, int) else None for dim in value.shape])


# ---------------------------------------------------------------- noise and messages


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings, log records and prints of the exporter to itself; exceptions pass."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"


def _root_message(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return _first_line(error)
