"""One file for all models that differ in nothing but where their weights lie.

Subgraphs of one structure have one graph. The file is the model of the first of them, as it is. The manifest says which
weights each of them has, in the order in which the graph names them, and where these lie; the runtime writes the places
into the model before it opens it (`place_weights` in `runtime.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx

from dycl.targets.onnxruntime.runtime import OFFSET_DIGITS, place_weights


@dataclass(frozen=True, slots=True)
class Shared:
    """A model's file, what is in it, and where this model's weights lie; empty if that cannot be written into it."""

    file: str
    data: bytes
    offsets: tuple[int, ...] = ()

    @property
    def model(self) -> bytes:
        """The model itself, as the runtime makes it."""
        return place_weights(self.data, self.offsets)


@dataclass(slots=True)
class SharedFiles:
    """The files of one program."""

    _first: dict[bytes, tuple[str, bytes]] = field(default_factory=dict)  # by the model without its places

    def add(self, file: str, model: onnx.ModelProto) -> Shared:
        """The file of a model: one of this name, or that of an earlier model of the same graph."""
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        offsets = []
        places = []
        for initializer in copy.graph.initializer:
            if initializer.data_location == onnx.TensorProto.EXTERNAL:
                for entry in initializer.external_data:
                    if entry.key == "offset":
                        offsets.append(int(entry.value))
                        places.append(entry)
        for place in places:
            place.value = "0" * OFFSET_DIGITS
        template: bytes = copy.SerializeToString(deterministic=True)
        for place, offset in zip(places, offsets, strict=True):
            place.value = f"{offset:0{OFFSET_DIGITS}d}"
        data: bytes = copy.SerializeToString(deterministic=True)
        first, kept = self._first.setdefault(template, (file, data))
        if _becomes(kept, offsets, data):
            return Shared(first, kept, tuple(offsets))
        return Shared(file, data)


def _becomes(kept: bytes, offsets: list[int], wanted: bytes) -> bool:
    """Whether the runtime makes a model of another; not where bytes of a constant look like a place."""
    try:
        return place_weights(kept, offsets) == wanted
    except ValueError:
        return False
