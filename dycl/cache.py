"""What earlier compiles have made, kept between processes: files named by a hash of what they were made from.

An entry is the sha256 of its content and the content; one that does not fit, whatever has happened to it, counts as
missing. Entries are written under a name of their own and renamed, so that compiles at the same time never see half of
one. What was used last stays longest once all are larger than the limit. A cache that cannot be read or written costs
time, never a compile.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{16}\.part")
_ABANDONED = 3600.0  # seconds after which an entry that nobody has finished writing was left by a killed process
_DIGEST = 32
_KEPT = 0.9  # the share of the limit that is left when old entries go: not every compile has to make room


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What is in a cache."""

    directory: Path
    entries: int
    size: int  # bytes
    limit: int


@dataclass(frozen=True, slots=True)
class Cache:
    """A directory of entries; `limit`: how many bytes they may take together."""

    directory: Path
    limit: int

    def get(self, key: str) -> bytes | None:
        """The content of an entry, or None; `key` is what `hash_key` gives."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        content = data[_DIGEST:]
        with contextlib.suppress(OSError):
            if hashlib.sha256(content).digest() == data[:_DIGEST]:
                os.utime(path)
                return content
            path.unlink()
        return None

    def put(self, key: str, content: bytes) -> None:
        """Store an entry, in one step."""
        path = self._path(key)
        part = path.with_name(f"{key}.{secrets.token_hex(8)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(hashlib.sha256(content).digest() + content)
            part.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove what was used longest ago until the rest fits, and what killed processes have left."""
        with contextlib.suppress(OSError):
            for path in self._files(_UNFINISHED):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink(missing_ok=True)
        found = sorted(self._entries(), key=lambda entry: (entry[0], entry[2].name))
        size = sum(bytes_ for _, bytes_, _ in found)
        if size <= self.limit:
            return
        for _, bytes_, path in found:
            if size <= _KEPT * self.limit:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                size -= bytes_

    def info(self) -> CacheInfo:
        """How many entries there are, and how large."""
        sizes = [size for _, size, _ in self._entries()]
        return CacheInfo(self.directory, len(sizes), sum(sizes), self.limit)

    def clear(self) -> None:
        """Remove all entries; nothing else that may lie in the directory."""
        for pattern in (_NAME, _UNFINISHED):
            for path in self._files(pattern):
                with contextlib.suppress(OSError):
                    path.unlink()
                    path.parent.rmdir()  # once it is empty

    def _path(self, key: str) -> Path:
        return self.directory / key[:2] / key

    def _entries(self) -> list[tuple[float, int, Path]]:
        """When each entry was used, its size and its file; another process may remove entries meanwhile."""
        found = []
        for path in self._files(_NAME):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return found

    def _files(self, pattern: re.Pattern[str]) -> Iterator[Path]:
        with contextlib.suppress(OSError):
            yield from [path for path in self.directory.glob("??/*") if pattern.fullmatch(path.name)]


def open_cache(directory: Path | None, limit: int) -> Cache | None:
    """The cache in a directory; None where there is none, or nothing is to be kept."""
    return Cache(directory, limit) if directory is not None and limit > 0 else None
