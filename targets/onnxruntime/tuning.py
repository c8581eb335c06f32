"""Subgraphs optimised for the very machine that compiles: in an artifact beside those that run anywhere.

ONNX Runtime's optimiser runs at compile time. Values that pass between subgraphs alone stay in the layout in which
convolutions compute, where that saves conversions; the agreement holds for all subgraphs that such a value comes from
or goes to (`targets/cuts.py`). Every tuned subgraph is checked against torch like any other. The runtime takes them
where ONNX Runtime's version and the processor are those that they were made for, all or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from dycl.ir.program import Program
from dycl.targets.base import Port
from dycl.targets.check import Run
from dycl.targets.cuts import PortPlace, find_cuts
from dycl.targets.onnx.binding import BoundProgram, BoundSubgraph
from dycl.targets.onnx.engine import Tuned
from dycl.targets.onnx.export import bind_weights
from dycl.targets.onnxruntime.given import Given, give_weights
from dycl.targets.onnxruntime.layout import LayoutError, Optimised, block_size, from_blocks, optimise, to_blocks
from dycl.targets.onnxruntime.runtime import WeightFiles, describe_machine
from dycl.targets.onnxruntime.sessions import make_runner, open_session
from dycl.targets.onnxruntime.sharing import SharedFiles
from dycl.targets.ports import input_ports, output_ports
from dycl.targets.weights import MappedFile

TUNED_WEIGHTS = "tuned.bin"
TUNED_GRAPHS = "tuned.zip"
_INLINE_BYTES = 16  # of numbers: a few that are computed with; the rest must not make graphs of one structure differ
_INLINE_SIZES = 1024  # of whole numbers: sizes and axes, which must be known when a model is opened

Group = frozenset[PortPlace]


def tune_program(program: Program, bound: BoundProgram, directory: Path) -> Mapping[str, Tuned]:
    """Every subgraph optimised for this machine; the weights that the optimiser has made are written to a file."""
    tuning = _Tuning(bound, directory)
    tuning.settle(_candidates(find_cuts(program), bound))
    weights = MappedFile()
    for name in tuning.models:
        _detach_weights(tuning.models[name].model, weights)
    models = {name: each.model for name, each in tuning.models.items()}
    given = give_weights(models, lambda number: (TUNED_WEIGHTS, weights.add(number)))
    weights.write(directory / TUNED_WEIGHTS)
    content = (directory / TUNED_WEIGHTS).read_bytes()
    files = SharedFiles()
    return {
        item.subgraph.name: tuning.finish(item, content, files, given.get(item.subgraph.name))
        for item in bound.subgraphs
    }


def _candidates(groups: Iterable[Group], bound: BoundProgram) -> list[Group]:
    """The groups whose values could lie in blocks: pictures of known size, their channels a multiple of a block."""
    size = block_size()
    types = {item.subgraph.name: (input_ports(item.subgraph), output_ports(item.subgraph)) for item in bound.subgraphs}

    def fits(place: PortPlace) -> bool:
        port: Port = types[place.subgraph][place.is_output][place.index]
        known = all(isinstance(dim, int) for dim in port.shape)
        return port.dtype == "float32" and len(port.shape) == 4 and known and not int(port.shape[1]) % size

    return [group for group in groups if size and all(fits(place) for place in group)]


class _Tuning:
    """The models of a program as they stand, while it is being settled which values come in blocks."""

    def __init__(self, bound: BoundProgram, directory: Path) -> None:
        self.models: dict[str, Optimised] = {}
        self._directory = directory
        self._files = WeightFiles(directory)
        self._chosen: list[Group] = []
        self._sources: dict[str, onnx.ModelProto] = {}
        self._ports: dict[str, tuple[Sequence[Port], Sequence[Port]]] = {}
        for item in bound.subgraphs:
            name, entry = item.subgraph.name, bound.weights.entry
            stored = {initializer: entry(weight) for initializer, weight in item.initializers}
            self._sources[name] = bind_weights(item.model, stored)
            self._ports[name] = (input_ports(item.subgraph), output_ports(item.subgraph))

    def settle(self, groups: Sequence[Group]) -> None:
        """Let those groups come in blocks that save conversions by it; all others stay as they are."""
        self._chosen = [group for group in groups if self._can_be_blocked(group)]
        self.models = {name: self._optimise(name, self._chosen) for name in self._sources}
        for group in list(self._chosen):
            rest = [other for other in self._chosen if other is not group]
            others = {name: self._optimise(name, rest) for name in sorted({place.subgraph for place in group})}
            if sum(o.reorders for o in others.values()) <= sum(self.models[name].reorders for name in others):
                self._chosen = rest
                self.models |= others

    def _can_be_blocked(self, group: Group) -> bool:
        """Whether the stand-ins of this group alone can be taken out again everywhere."""
        try:
            for name in sorted({place.subgraph for place in group}):
                self._optimise(name, [group])
        except LayoutError:
            return False
        return True

    def _optimise(self, name: str, groups: Iterable[Group]) -> Optimised:
        return optimise(self._sources[name], self._blocked(name, groups), self._directory)

    def _blocked(self, name: str, groups: Iterable[Group]) -> dict[str, int]:
        """The inputs and outputs of a subgraph in these groups, with their channels."""
        places = sorted(place for group in groups for place in group if place.subgraph == name)
        ports = [self._ports[name][place.is_output][place.index] for place in places]
        return {port.name: int(port.shape[1]) for port in ports}

    def finish(self, bound: BoundSubgraph, weights: bytes, files: SharedFiles, given: Given | None) -> Tuned:
        """The files of a subgraph, and how to run it on values as the model's source has them."""
        subgraph = bound.subgraph
        file = f"{TUNED_GRAPHS}/{subgraph.name}.onnx"
        shared = files.add(file, self.models[subgraph.name].model)
        session = open_session(subgraph, shared.model, self._directory, optimization="none")
        settings: dict[str, object] = {"tuned": shared.file, "machine": describe_machine()}
        if given is None:
            run = make_runner(subgraph, session)
        else:
            run = make_runner(subgraph, session, self._files.given(session, given.weights), given.names)
            settings["given"] = {name: list(place) for name, place in given.weights.items()}
        if given is not None and given.names:
            settings["names"] = dict(given.names)
        if shared.offsets and shared.file != file:
            settings["tuned_offsets"] = list(shared.offsets)
        return Tuned(
            files={shared.file: shared.data, TUNED_WEIGHTS: weights},
            run=self._unblocked(subgraph.name, run),
            settings=settings,
        )

    def _unblocked(self, name: str, run: Run) -> Run:
        blocked = self._blocked(name, self._chosen)
        inputs, outputs = self._ports[name]

        def call(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            given = [to_blocks(a) if p.name in blocked else a for p, a in zip(inputs, arrays, strict=True)]
            made = run(given)
            return [from_blocks(a) if p.name in blocked else a for p, a in zip(outputs, made, strict=True)]

        return call


def _detach_weights(model: onnx.ModelProto, weights: MappedFile) -> None:
    """Move the larger initializers of a model to a file: what the optimiser left as it was stays in weights.bin."""
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.data_type == onnx.TensorProto.STRING:
            continue
        array = onnx.numpy_helper.to_array(tensor)
        if array.nbytes <= (_INLINE_BYTES if array.dtype.kind == "f" else _INLINE_SIZES):
            continue
        kept = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        kept.data_location = onnx.TensorProto.EXTERNAL
        place = weights.add(array.tobytes())
        for key, value in (("location", TUNED_WEIGHTS), ("offset", place), ("length", array.nbytes)):
            kept.external_data.add(key=key, value=str(value))
        tensor.CopyFrom(kept)
