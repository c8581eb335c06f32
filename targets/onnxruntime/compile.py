"""A program's subgraphs to files: a structure is exported once, bound to each subgraph's weights, and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dycl.diagnostics import InternalError, TargetError
from dycl.ir.environment import Environment
from dycl.ir.nodes import Operand, Program, Raise, Return, ScalarType, Subgraph, TensorOp, TensorType, edges
from dycl.passes.deduplicate import named_weights, portable_structure, weight_slots
from dycl.targets.base import Compiled, CompiledSubgraph, Options, Port
from dycl.targets.onnxruntime.check import check, open_session
from dycl.targets.onnxruntime.export import Exported, bind_weights, check_types, check_weights, export
from dycl.targets.onnxruntime.exports import Exports, KeptExport
from dycl.targets.onnxruntime.module import SubgraphModule, weight_names
from dycl.targets.onnxruntime.samples import SCALAR_DTYPES
from dycl.targets.onnxruntime.weights import FILE_NAME, WeightFile, digest


def compile_program(program: Program, environment: Environment, directory: Path, options: Options) -> Compiled:
    """Write subgraphs/*.onnx and weights.bin under the directory; every subgraph is run and compared with torch.

    Exports of earlier compiles are used. If one turns out to be wrong, something of torch was replaced that no version
    tells of: then all are made anew.
    """
    options = replace(options, dimensions=program.dimensions)
    exports = Exports(options.cache)
    try:
        return _compile(program, environment, directory, options, exports)
    except TargetError:
        if not exports.reused:
            raise
    return _compile(program, environment, directory, options, Exports(options.cache, is_anew=True))


def _compile(
    program: Program, environment: Environment, directory: Path, options: Options, exports: Exports
) -> Compiled:
    binder = _Binder(environment, exports)
    bound = [binder.bind(subgraph) for subgraph in program.subgraphs]
    for name in _host_weights(program):
        binder.weights.add(name, environment.weights[name])
    (directory / "subgraphs").mkdir(parents=True, exist_ok=True)
    binder.weights.write(directory / FILE_NAME)
    compiled = tuple(_finish(item, environment, binder.weights, directory, options) for item in bound)
    return Compiled(
        files=(FILE_NAME, *(item.file for item in compiled)),
        subgraphs=compiled,
        weights=binder.weights.entries,
        structures_exported=binder.exported,
        structures_reused=exports.reused,
        weight_bytes=binder.weights.size,
    )


@dataclass(frozen=True, slots=True)
class _Bound:
    """A subgraph with the model of its structure and its own weights: (name in the model, weight)."""

    subgraph: Subgraph
    exported: Exported
    initializers: tuple[tuple[str, str], ...]
    slots: tuple[str, ...]

    @property
    def file(self) -> str:
        return f"subgraphs/{self.subgraph.name}.onnx"


class _Binder:
    """Exports each structure once and finds the weights of each subgraph."""

    def __init__(self, environment: Environment, exports: Exports) -> None:
        self.weights = WeightFile()
        self.exported = 0
        self._exports = exports
        self._environment = environment
        self._structures: dict[int, _Bound] = {}
        self._by_id: dict[int, str] = {}
        self._by_memory: dict[tuple[object, ...], str] = {}
        self._named = named_weights(environment)
        for name, tensor in self._named.items():
            self._by_id.setdefault(id(tensor), name)
            self._by_memory.setdefault(_memory(tensor), name)

    def bind(self, subgraph: Subgraph) -> _Bound:
        """The subgraph with a model and the weights that it takes; these are stored."""
        check_types(subgraph)
        slots = weight_slots(subgraph, self._environment, self._named)
        known = self._structures.get(subgraph.structure)
        if known is not None:
            rename = dict(zip(known.slots, slots, strict=True))
            initializers = tuple((name, rename[weight]) for name, weight in known.initializers)
            for _, weight in initializers:
                self.weights.add(weight, self._named[weight])
            return _Bound(subgraph, known.exported, initializers, slots)
        bound = self._export(subgraph, slots)
        if subgraph.structure >= 0 and self._is_shareable(bound):
            self._structures[subgraph.structure] = bound
        return bound

    def _export(self, subgraph: Subgraph, slots: tuple[str, ...]) -> _Bound:
        module = SubgraphModule(subgraph, self._environment)
        check_weights(subgraph, module)
        self.exported += 1
        structure = portable_structure(subgraph, self._environment, self._named)
        kept = self._exports.find(structure)
        if kept is not None:
            return self._bind_kept(subgraph, kept, slots)
        exported = export(subgraph, module)
        bound = self._bind_exported(subgraph, exported, slots)
        self._keep(structure, bound)
        return bound

    def _bind_exported(self, subgraph: Subgraph, exported: Exported, slots: tuple[str, ...]) -> _Bound:
        initializers = []
        for name, tensor in exported.tensors:
            weight = self._by_id.get(id(tensor)) or self._by_memory.get(_memory(tensor))
            weight = weight or _constant_name(tensor)
            self.weights.add(weight, tensor)
            initializers.append((name, weight))
        return _Bound(subgraph, exported, tuple(initializers), slots)

    def _bind_kept(self, subgraph: Subgraph, kept: KeptExport, slots: tuple[str, ...]) -> _Bound:
        initializers = []
        for name, content in kept.initializers:
            if isinstance(content, int):
                weight, tensor = slots[content], self._named[slots[content]]
            else:
                weight, tensor = _constant_name(content), content
            self.weights.add(weight, tensor)
            initializers.append((name, weight))
        return _Bound(subgraph, Exported(kept.model, (), constants=False), tuple(initializers), slots)

    def _keep(self, structure: str | None, bound: _Bound) -> None:
        """Keep an export whose tensors are weights of the structure, or constants that the graph itself makes."""
        if bound.exported.constants:
            return
        numbers = {weight: index for index, weight in enumerate(bound.slots)}
        kept: list[tuple[str, int | torch.Tensor]] = []
        for (name, weight), (_, tensor) in zip(bound.initializers, bound.exported.tensors, strict=True):
            if weight in numbers:
                kept.append((name, numbers[weight]))
            elif weight == _constant_name(tensor):
                kept.append((name, tensor))
            else:
                return
        self._exports.keep(structure, KeptExport(bound.exported.model, tuple(kept)))

    def _is_shareable(self, bound: _Bound) -> bool:
        """Only the weights differ between subgraphs of one structure, and all weights are slots of it.

        A tensor that a module keeps outside of its parameters and buffers may be baked into the model; then each
        subgraph of the structure is exported by itself.
        """
        slots = set(bound.slots)
        return not bound.exported.constants and all(weight in slots for _, weight in bound.initializers)


def _constant_name(tensor: torch.Tensor) -> str:
    return f"constant.{digest(tensor)[:16]}"


def _memory(tensor: torch.Tensor) -> tuple[object, ...]:
    address = tensor.data_ptr() if tensor.numel() else id(tensor)
    return (address, tensor.dtype, tuple(tensor.shape), tensor.stride())


def _finish(
    bound: _Bound, environment: Environment, weights: WeightFile, directory: Path, options: Options
) -> CompiledSubgraph:
    subgraph = bound.subgraph
    model = bind_weights(bound.exported.model, {name: weights.entry(weight) for name, weight in bound.initializers})
    data: bytes = model.SerializeToString(deterministic=True)
    (directory / bound.file).write_bytes(data)
    module = SubgraphModule(subgraph, environment)
    session = open_session(subgraph, data, directory)
    deviation = check(subgraph, module, session, options)
    return CompiledSubgraph(
        name=subgraph.name,
        file=bound.file,
        structure=subgraph.structure,
        inputs=_input_ports(subgraph),
        outputs=_output_ports(subgraph),
        weights=tuple(dict.fromkeys(weight for _, weight in bound.initializers)),
        samples=deviation.samples,
        max_abs_error=deviation.max_abs,
        max_rel_error=deviation.max_rel,
    )


def _input_ports(subgraph: Subgraph) -> tuple[Port, ...]:
    ports = []
    for index, param in enumerate(subgraph.params):
        match param.type:
            case TensorType(dtype=dtype, shape=shape):
                ports.append(Port(f"in{index}", dtype, shape))
            case ScalarType(kind=kind):
                ports.append(Port(f"in{index}", SCALAR_DTYPES[kind], (), scalar=kind.value))
            case _:
                raise InternalError(f"{subgraph.name}: {param} passed the check of types")
    return tuple(ports)


def _output_ports(subgraph: Subgraph) -> tuple[Port, ...]:
    defined = [*subgraph.params]
    for op in subgraph.ops:
        defined += [*op.results, *(new for _, new in op.mutates)]
    types = {value.id: value.type for value in defined}
    ports = []
    for index, result in enumerate(subgraph.results):
        match types[result]:
            case TensorType(dtype=dtype, shape=shape):
                ports.append(Port(f"out{index}", dtype, shape))
            case other:
                raise InternalError(f"{subgraph.name}: result {index} is {other}, not a tensor")
    return tuple(ports)


def _host_weights(program: Program) -> tuple[str, ...]:
    """The weights that the host itself reads, in order."""
    operands: list[Operand] = [*program.initial]
    for block in program.blocks:
        for op in block.ops:
            if not isinstance(op, TensorOp):
                operands += op.args
        for edge in edges(block.end):
            operands += edge.args
        if isinstance(block.end, Return):
            operands += [block.end.value, *block.end.state]
        elif isinstance(block.end, Raise):
            operands += [*block.end.args, *block.end.state]
    return tuple(dict.fromkeys(name for operand in operands for name in weight_names(operand)))
