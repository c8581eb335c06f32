"""A program's subgraphs as ONNX models: a structure is exported once and bound to each subgraph's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch

from dycl.ir.environment import Environment
from dycl.ir.nodes import Subgraph
from dycl.ir.program import Program
from dycl.ir.values import SubgraphId
from dycl.passes.deduplicate import named_weights, portable_structure, weight_slots
from dycl.targets.module import SubgraphModule
from dycl.targets.onnx.export import check_types, check_weights, export
from dycl.targets.onnx.exports import Exports, KeptExport
from dycl.targets.ports import host_weights
from dycl.targets.processes import try_in_processes
from dycl.targets.samples import export_inputs, has_run_time_sizes
from dycl.targets.usual import find_usual_work
from dycl.targets.weights import WeightFile, digest
from dycl.targets.work import UNKNOWN_WORK, Work, find_work


@dataclass(frozen=True, slots=True)
class BoundSubgraph:
    """A subgraph with the model of its structure and its own weights, in graph order: (name in the model, weight)."""

    subgraph: Subgraph
    model: onnx.ModelProto
    initializers: tuple[tuple[str, str], ...]
    slots: tuple[str, ...]
    has_constants: bool = False  # some of its tensors are neither parameters nor buffers, but attributes of a module
    work: Work = UNKNOWN_WORK


@dataclass(frozen=True, slots=True)
class BoundProgram:
    """All subgraphs of a program as models, and the file that their weights will lie in."""

    subgraphs: tuple[BoundSubgraph, ...]
    weights: WeightFile
    exported: int  # structures


def bind_program(program: Program, environment: Environment, exports: Exports, jobs: int = 1) -> BoundProgram:
    """Export what no earlier compile has exported, and collect the weights, those too that the host itself reads.

    `jobs`: how many processes export at the same time.
    """
    binder = _Binder(environment, exports, _by_structure(program, find_usual_work(program, environment)))
    binder.export_ahead(program.subgraphs, jobs)
    bound = tuple(binder.bind(subgraph) for subgraph in program.subgraphs)
    for name in host_weights(program):
        binder.weights.add(name, environment.weights[name])
    return BoundProgram(bound, binder.weights, binder.exported)


@dataclass(frozen=True, slots=True)
class _Made:
    """An export, and what each initializer is: a weight by its name, the content of one that has none beside it."""

    model: onnx.ModelProto
    initializers: tuple[tuple[str, str, np.ndarray | None], ...]
    constants: bool


class _Binder:
    """Exports each structure once and finds the weights of each subgraph."""

    def __init__(self, environment: Environment, exports: Exports, usual: Mapping[object, Work]) -> None:
        self.weights = WeightFile()
        self.exported = 0
        self._exports = exports
        self._usual = usual  # what a profile knows of structures of run-time sizes
        self._environment = environment
        self._structures: dict[int, BoundSubgraph] = {}
        self._made: dict[SubgraphId, _Made] = {}  # ahead, with what was kept
        self._kept: dict[SubgraphId, KeptExport] = {}
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
            return replace(known, subgraph=subgraph, initializers=initializers, slots=slots)
        bound = replace(self._export(subgraph, slots), work=self._find_work(subgraph))
        if subgraph.structure >= 0 and self._is_shareable(bound):
            self._structures[subgraph.structure] = bound
        return bound

    def _find_work(self, subgraph: Subgraph) -> Work:
        if has_run_time_sizes(subgraph):
            return self._usual.get(_structure_of(subgraph), UNKNOWN_WORK)
        return find_work(SubgraphModule(subgraph, self._environment), export_inputs(subgraph))

    def export_ahead(self, subgraphs: Sequence[Subgraph], jobs: int) -> None:
        """Export the first subgraph of each structure, in several processes; what fails is left to `bind`."""
        first: dict[object, Subgraph] = {}
        for subgraph in subgraphs:
            first.setdefault(_structure_of(subgraph), subgraph)
        missing = []
        for subgraph in first.values() if jobs > 1 else ():
            kept = self._exports.find(self._structure(subgraph))
            if kept is None:
                missing.append(subgraph)
            else:
                self._kept[subgraph.id] = kept
        for subgraph, done in zip(missing, try_in_processes(self._make, missing, jobs), strict=True):
            if done is not None:
                self._made[subgraph.id] = done.result

    def _structure(self, subgraph: Subgraph) -> str | None:
        return portable_structure(subgraph, self._environment, self._named)

    def _make(self, subgraph: Subgraph) -> _Made:
        check_types(subgraph)
        module = SubgraphModule(subgraph, self._environment)
        check_weights(subgraph, module)
        exported = export(subgraph, module, self._exports.opset)
        initializers = []
        for name, tensor in exported.tensors:
            weight = self._by_id.get(id(tensor)) or self._by_memory.get(_memory(tensor))
            content = None if weight else tensor.detach().cpu().contiguous().numpy()
            initializers.append((name, weight or _constant_name(tensor), content))
        return _Made(exported.model, tuple(initializers), exported.constants)

    def _export(self, subgraph: Subgraph, slots: tuple[str, ...]) -> BoundSubgraph:
        self.exported += 1
        made = self._made.get(subgraph.id)
        if made is not None:
            return self._bind_made(subgraph, made, slots)
        check_weights(subgraph, SubgraphModule(subgraph, self._environment))
        kept = self._kept.get(subgraph.id) or self._exports.find(self._structure(subgraph))
        if kept is not None:
            return self._bind_kept(subgraph, kept, slots)
        return self._bind_made(subgraph, self._make(subgraph), slots)

    def _bind_made(self, subgraph: Subgraph, made: _Made, slots: tuple[str, ...]) -> BoundSubgraph:
        initializers = []
        for name, weight, content in made.initializers:
            self.weights.add(weight, self._named[weight] if content is None else torch.from_numpy(content))
            initializers.append((name, weight))
        self._keep(self._structure(subgraph), made, slots)
        return BoundSubgraph(subgraph, made.model, tuple(initializers), slots, has_constants=made.constants)

    def _bind_kept(self, subgraph: Subgraph, kept: KeptExport, slots: tuple[str, ...]) -> BoundSubgraph:
        initializers = []
        for name, content in kept.initializers:
            if isinstance(content, int):
                weight, tensor = slots[content], self._named[slots[content]]
            else:
                weight, tensor = _constant_name(content), content
            self.weights.add(weight, tensor)
            initializers.append((name, weight))
        return BoundSubgraph(subgraph, kept.model, tuple(initializers), slots)

    def _keep(self, structure: str | None, made: _Made, slots: tuple[str, ...]) -> None:
        """Keep an export whose tensors are weights of the structure, or constants that the graph itself makes."""
        if made.constants:
            return
        numbers = {weight: index for index, weight in enumerate(slots)}
        kept: list[tuple[str, int | torch.Tensor]] = []
        for name, weight, content in made.initializers:
            if weight in numbers:
                kept.append((name, numbers[weight]))
            elif content is not None:
                kept.append((name, torch.from_numpy(content)))
            else:
                return
        self._exports.keep(structure, KeptExport(made.model, tuple(kept)))

    def _is_shareable(self, bound: BoundSubgraph) -> bool:
        """Only the weights differ between subgraphs of one structure, and all weights are slots of it.

        A tensor that a module keeps outside of its parameters and buffers may be baked into the model; then each
        subgraph of the structure is exported by itself.
        """
        slots = set(bound.slots)
        return not bound.has_constants and all(weight in slots for _, weight in bound.initializers)


def _structure_of(subgraph: Subgraph) -> object:
    """What subgraphs of one structure have in common, and no other."""
    return subgraph.structure if subgraph.structure >= 0 else subgraph.name


def _by_structure(program: Program, usual: Mapping[SubgraphId, Work]) -> Mapping[object, Work]:
    """The most that any subgraph of a structure does."""
    found: dict[object, Work] = {}
    for subgraph in program.subgraphs:
        if subgraph.id in usual:
            of = _structure_of(subgraph)
            found[of] = usual[subgraph.id].or_more(found.get(of, Work(0, 0)))
    return found


def _constant_name(tensor: torch.Tensor) -> str:
    return f"constant.{digest(tensor)[:16]}"


def _memory(tensor: torch.Tensor) -> tuple[object, ...]:
    address = tensor.data_ptr() if tensor.numel() else id(tensor)
    return (address, tensor.dtype, tuple(tensor.shape), tensor.stride())
