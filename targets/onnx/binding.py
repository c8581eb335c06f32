"""A program's subgraphs as ONNX models: a structure is exported once and bound to each subgraph's weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dycl.ir.environment import Environment
from dycl.ir.nodes import Program, Subgraph
from dycl.passes.deduplicate import named_weights, portable_structure, weight_slots
from dycl.targets.module import SubgraphModule
from dycl.targets.onnx.export import Exported, check_types, check_weights, export
from dycl.targets.onnx.exports import Exports, KeptExport
from dycl.targets.ports import host_weights
from dycl.targets.weights import WeightFile, digest


@dataclass(frozen=True, slots=True)
class BoundSubgraph:
    """A subgraph with the model of its structure and its own weights: (name in the model, weight)."""

    subgraph: Subgraph
    exported: Exported
    initializers: tuple[tuple[str, str], ...]
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BoundProgram:
    """All subgraphs of a program as models, and the file that their weights will lie in."""

    subgraphs: tuple[BoundSubgraph, ...]
    weights: WeightFile
    exported: int  # structures


def bind_program(program: Program, environment: Environment, exports: Exports) -> BoundProgram:
    """Export what no earlier compile has exported, and collect the weights, those too that the host itself reads."""
    binder = _Binder(environment, exports)
    bound = tuple(binder.bind(subgraph) for subgraph in program.subgraphs)
    for name in host_weights(program):
        binder.weights.add(name, environment.weights[name])
    return BoundProgram(bound, binder.weights, binder.exported)


class _Binder:
    """Exports each structure once and finds the weights of each subgraph."""

    def __init__(self, environment: Environment, exports: Exports) -> None:
        self.weights = WeightFile()
        self.exported = 0
        self._exports = exports
        self._environment = environment
        self._structures: dict[int, BoundSubgraph] = {}
        self._by_id: dict[int, str] = {}
        self._by_memory: dict[tuple[object, ...], str] = {}
        self._named = named_weights(environment)
        for name, tensor in self._named.items():
            self._by_id.setdefault(id(tensor), name)
            self._by_memory.setdefault(_memory(tensor), name)

    def bind(self, subgraph: Subgraph) -> BoundSubgraph:
        """The subgraph with a model and the weights that it takes; these are stored."""
        check_types(subgraph)
        slots = weight_slots(subgraph, self._environment, self._named)
        known = self._structures.get(subgraph.structure)
        if known is not None:
            rename = dict(zip(known.slots, slots, strict=True))
            initializers = tuple((name, rename[weight]) for name, weight in known.initializers)
            for _, weight in initializers:
                self.weights.add(weight, self._named[weight])
            return BoundSubgraph(subgraph, known.exported, initializers, slots)
        bound = self._export(subgraph, slots)
        if subgraph.structure >= 0 and self._is_shareable(bound):
            self._structures[subgraph.structure] = bound
        return bound

    def _export(self, subgraph: Subgraph, slots: tuple[str, ...]) -> BoundSubgraph:
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

    def _bind_exported(self, subgraph: Subgraph, exported: Exported, slots: tuple[str, ...]) -> BoundSubgraph:
        initializers = []
        for name, tensor in exported.tensors:
            weight = self._by_id.get(id(tensor)) or self._by_memory.get(_memory(tensor))
            weight = weight or _constant_name(tensor)
            self.weights.add(weight, tensor)
            initializers.append((name, weight))
        return BoundSubgraph(subgraph, exported, tuple(initializers), slots)

    def _bind_kept(self, subgraph: Subgraph, kept: KeptExport, slots: tuple[str, ...]) -> BoundSubgraph:
        initializers = []
        for name, content in kept.initializers:
            if isinstance(content, int):
                weight, tensor = slots[content], self._named[slots[content]]
            else:
                weight, tensor = _constant_name(content), content
            self.weights.add(weight, tensor)
            initializers.append((name, weight))
        return BoundSubgraph(subgraph, Exported(kept.model, (), constants=False), tuple(initializers), slots)

    def _keep(self, structure: str | None, bound: BoundSubgraph) -> None:
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

    def _is_shareable(self, bound: BoundSubgraph) -> bool:
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
