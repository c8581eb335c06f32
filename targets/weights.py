"""`weights.bin`: every weight once, however many subgraphs use it, in a fixed order; the layout of such files."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dycl.targets.base import StoredWeight

FILE_NAME = "weights.bin"
_BIG = 1 << 20  # from here on ONNX Runtime aligns to pages, too, in the files that it writes
_BIG_ALIGNMENT = 4096
_SMALL_ALIGNMENT = 64


@dataclass(slots=True)
class MappedFile:
    """The content of a file that will be mapped, piece by piece; pieces of equal content are stored once.

    Offsets are multiples of 64 bytes, of 4096 from 1 MiB on, so that a mapped page holds no part of another big piece.
    The room that this leaves before a big piece is for small ones that come later. The layout depends on the order of
    `add` alone.
    """

    _pieces: dict[int, bytes] = field(default_factory=dict)
    _by_content: dict[str, int] = field(default_factory=dict)
    _gaps: list[tuple[int, int]] = field(default_factory=list)  # before big pieces: begin and end
    _end: int = 0

    def add(self, data: bytes) -> int:
        """Where the piece lies; it is stored now unless an equal one is there."""
        key = hashlib.sha256(data).hexdigest()
        if key not in self._by_content:
            offset = self._place(len(data))
            self._pieces[offset] = data
            self._by_content[key] = offset
        return self._by_content[key]

    def piece(self, offset: int) -> bytes:
        """What lies there."""
        return self._pieces.get(offset, b"")

    def _place(self, size: int) -> int:
        """Where so many bytes are to lie."""
        if size >= _BIG:
            end, offset = _round_up(self._end, _SMALL_ALIGNMENT), _round_up(self._end, _BIG_ALIGNMENT)
            if end < offset:
                self._gaps.append((end, offset))
            self._end = offset + size
            return offset
        for index, (begin, end) in enumerate(self._gaps):
            if begin < end and begin + size <= end:  # nothing fits into no room: at its end begins a big piece
                self._gaps[index] = _round_up(begin + size, _SMALL_ALIGNMENT), end
                return begin
        offset = _round_up(self._end, _SMALL_ALIGNMENT)
        self._end = offset + size
        return offset

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return max(self._end, 1)  # a file of no bytes cannot be mapped

    def write(self, path: Path) -> None:
        """Write the file."""
        with path.open("wb") as file:
            for offset, data in sorted(self._pieces.items()):
                file.write(b"\0" * (offset - file.tell()))
                file.write(data)
            file.write(b"\0" * (self.size - file.tell()))


@dataclass(slots=True)
class WeightFile:
    """Collects weights, then writes them: the layout depends on the order of `add` alone."""

    _file: MappedFile = field(default_factory=MappedFile)
    _entries: dict[str, StoredWeight] = field(default_factory=dict)
    _by_storage: dict[tuple[object, ...], tuple[int, torch.Tensor]] = field(default_factory=dict)

    def add(self, name: str, tensor: torch.Tensor) -> StoredWeight:
        """Where the weight lies; it is stored now unless an equal one is there."""
        known = self._entries.get(name)
        if known is not None:
            return known
        dtype = str(tensor.dtype).removeprefix("torch.")
        identity = (tensor.data_ptr(), dtype, tuple(tensor.shape), tensor.stride())
        if tensor.numel() and identity in self._by_storage:
            offset, _ = self._by_storage[identity]
        else:
            offset = self._file.add(_content(tensor))
            self._by_storage[identity] = offset, tensor  # held: no other tensor gets its memory meanwhile
        entry = StoredWeight(name, dtype, tuple(tensor.shape), offset)
        self._entries[name] = entry
        return entry

    def entry(self, name: str) -> StoredWeight:
        """Where a weight that was added lies."""
        return self._entries[name]

    def tensor(self, name: str) -> torch.Tensor:
        """A copy of a weight that was added."""
        entry = self._entries[name]
        if not math.prod(entry.shape):
            return torch.empty(entry.shape, dtype=getattr(torch, entry.dtype))
        data = bytearray(self._file.piece(entry.offset))
        return torch.frombuffer(data, dtype=getattr(torch, entry.dtype)).reshape(entry.shape)

    @property
    def entries(self) -> tuple[StoredWeight, ...]:
        """All weights, in the order in which they were added."""
        return tuple(self._entries.values())

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._file.size

    def write(self, path: Path) -> None:
        """Write the file."""
        self._file.write(path)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step


def digest(tensor: torch.Tensor) -> str:
    """A name for the content of a tensor: equal for equal content, type and shape."""
    head = f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    return hashlib.sha256(head + _content(tensor)).hexdigest()


def _content(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
