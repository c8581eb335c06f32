"""Reads the graphs of an artifact. Copied into artifacts: needs the standard library alone.

Graphs repeat themselves, so they lie in archives, where they take a fifth: `subgraphs.zip`, and `tuned.zip` those that
were optimised for one machine. `subgraphs.zip/00_stem.onnx` is the graph of that name in that archive.
"""

from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path


class Graphs:
    """The graphs under a directory, for any thread.

    An archive is read as a whole when the first of its graphs is asked for: no file stays open.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._archives: dict[str, zipfile.ZipFile] = {}
        self._lock = threading.Lock()

    def read(self, file: str) -> bytes:
        """The graph that lies at `ARCHIVE/NAME`."""
        archive, _, name = file.rpartition("/")
        with self._lock:
            if archive not in self._archives:
                self._archives[archive] = zipfile.ZipFile(io.BytesIO((self._directory / archive).read_bytes()))
            return self._archives[archive].read(name)
