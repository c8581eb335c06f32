"""The graphs of an artifact as onnx reads them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import onnx


def read_graphs(artifact: Path, archive: str = "subgraphs.zip") -> dict[str, onnx.ModelProto]:
    """Each by its name; their weights stay where they are."""
    with zipfile.ZipFile(artifact / archive) as members:
        return {Path(name).stem: onnx.load_from_string(members.read(name)) for name in members.namelist()}
