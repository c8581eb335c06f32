"""Packs the files of an artifact that lie in an archive; `targets/onnx/graphs.py` reads them there."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

_BEGINNING = (1980, 1, 1, 0, 0, 0)  # of the time that archives know: the same content gives the same bytes
_READABLE = 0o644 << 16
_UNIX = 3


def pack_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files by name, those of a name like `subgraphs.zip/00_stem.onnx` together as that archive."""
    packed: dict[str, bytes] = {}
    archives: dict[str, dict[str, bytes]] = {}
    for file, data in files.items():
        archive, _, name = file.rpartition("/")
        if archive.endswith(".zip"):
            archives.setdefault(archive, {})[name] = data
        else:
            packed[file] = data
    return packed | {archive: pack(members) for archive, members in archives.items()}


def pack(members: Mapping[str, bytes]) -> bytes:
    """An archive of these members."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, _BEGINNING)
            info.create_system, info.external_attr = _UNIX, _READABLE
            archive.writestr(info, data, zipfile.ZIP_DEFLATED, compresslevel=9)
    return content.getvalue()
