"""Subgraphs optimised for the very machine that compiles: in an artifact beside those that run anywhere.

ONNX Runtime's optimiser runs at compile time. Values that pass between subgraphs alone stay in the layout in which
convolutions compute, where that saves conversions; the agreement holds for all subgraphs that such a value comes from or
goes to (`targets/cuts.py`). Every tuned subgraph is checked against torch like any other. The runtime takes them where
ONNX Runtime's version and the processor are those that they were made for, all or none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from dycl.ir.nodes import Program, TensorType
from dycl.targets.base import Port
from dycl.targets.cuts import PortPlace, find_cuts
from dycl.targets.onnx.binding import BoundProgram
from dycl.targets.onnx.engine import Built
from dycl.targets.onnx.export import bind_weights
from dycl.targets.onnxruntime.layout import LayoutError, Optimised, block_size, from_blocks, optimise, to_blocks
from dycl.targets.onnxruntime.runtime import describe_machine
from dycl.targets.onnxruntime.sessions import open_session, runner
from dycl.targets.ports import input_ports, output_ports

TUNED_WEIGHTS = "tuned.bin"
_INLINE_BYTES = 256
_PAGE = 4096

Group = frozenset[PortPlace]


def tune_program(program: Program, bound: BoundProgram, directory: Path) -> Mapping[str, Built]:
    """Every subgraph optimised for this machine; the weights that the optimiser has made are written to a file."""
    tuning = _Tuning(bound, directory)
    tuning.settle(_candidates(find_cuts(program), bound))
    weights = _TunedWeights()
    data = {name: weights.detach(model) for name, model in tuning.models().items()}
    (directory / TUNED_WEIGHTS).write_bytes(weights.content)
    shared = {TUNED_WEIGHTS: weights.content}
    return {item.subgraph.name: _build(item, data[item.subgraph.name], tuning, directory, shared) for item in bound.subgraphs}


def _candidates(groups: Iterable[Group], bound: BoundProgram) -> list[Group]:
    """The groups whose values could lie in blocks: pictures of known size, their channels a multiple of a block."""
    size = block_size()
    types = {item.subgraph.name: (input_ports(item.subgraph), output_ports(item.subgraph)) for item in bound.subgraphs}

    def fits(place: PortPlace) -> bool:
        port: Port = types[place.subgraph][place.is_output][place.index]
        known = all(isinstance(dim, int) for dim in port.shape)
        return port.dtype == "float32" and len(port.shape) == 4 and known and not int(port.shape[1]) % size

    return [group for group in groups if size and all(fits(place) for place in group)]
