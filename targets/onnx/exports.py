"""Exported structures, kept in the compile cache: the model and which weight of the structure each initializer is.

Exporting is two thirds of a compile. What comes out depends on the structure of the subgraph, on the versions of what
exports it and on our own code; the content of weights is in none of it. Every subgraph is checked against torch,
whether its structure was exported now or earlier.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

import dycl.ir
from dycl.targets.base import Cache

_PACKAGES = ("torch", "onnx", "onnxscript", "onnx_ir", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class KeptExport:
    """A model and what its initializers are, in graph order: a weight of the structure by number, or a constant."""

    model: onnx.ModelProto
    initializers: tuple[tuple[str, int | torch.Tensor], ...]


class Exports:
    """The exports of earlier compiles in this version of ONNX's operators; `is_anew`: what is there is replaced."""

    def __init__(self, cache: Cache | None, *, opset: int = 0, is_anew: bool = False) -> None:
        self.opset = opset
        self._cache = cache
        self._is_anew = is_anew
        self.reused = 0

    def find(self, structure: str | None) -> KeptExport | None:
        """The export of a structure, if an earlier compile has made it."""
        if self._cache is None or self._is_anew or structure is None:
            return None
        content = self._cache.get(_key(structure, self.opset))
        found = None if content is None else _decode(content)
        self.reused += found is not None
        return found

    def keep(self, structure: str | None, export: KeptExport) -> None:
        """Keep an export for later compiles."""
        if self._cache is not None and structure is not None:
            self._cache.put(_key(structure, self.opset), _encode(export))


def _key(structure: str, opset: int) -> str:
    settings = (str(torch.get_default_dtype()), torch.are_deterministic_algorithms_enabled(), opset)
    return hashlib.sha256(repr((circumstances(), settings, structure)).encode()).hexdigest()


@functools.cache
def circumstances() -> str:
    """What compiles: versions of the packages, Python and machine, and our own source."""
    versions = [importlib.metadata.version(name) for name in _PACKAGES]
    source = hashlib.sha256()
    for package in ("ir", "passes", "targets"):
        # A checkout has links to its folders here.
        for path in sorted((Path(dycl.ir.__path__[0]).parent / package).resolve().rglob("*.py"), key=str):
            source.update(path.read_bytes())
    return repr((versions, platform.python_version(), platform.machine(), source.hexdigest()))


def _encode(export: KeptExport) -> bytes:
    """A line of JSON, the constants one after the other, the model."""
    rows: list[list[object]] = []
    data = b""
    for name, content in export.initializers:
        if isinstance(content, int):
            rows.append([name, content])
            continue
        array = content.detach().contiguous().numpy()
        rows.append([name, array.dtype.str, list(array.shape), array.nbytes])
        data += array.tobytes()
    head = json.dumps({"initializers": rows}).encode()
    model: bytes = export.model.SerializeToString(deterministic=True)
    return head + b"\n" + data + model


def _decode(content: bytes) -> KeptExport:
    head, _, data = content.partition(b"\n")
    initializers: list[tuple[str, int | torch.Tensor]] = []
    for name, first, *rest in json.loads(head)["initializers"]:
        if not rest:
            initializers.append((name, first))
            continue
        shape, size = rest
        array = np.frombuffer(data[:size], dtype=first).reshape(shape).copy()
        initializers.append((name, torch.from_numpy(array)))
        data = data[size:]
    model = onnx.ModelProto()
    model.ParseFromString(data)
    return KeptExport(model, tuple(initializers))
