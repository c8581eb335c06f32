"""Graphs in archives: written by `archives.py`, read by `graphs.py`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from dycl.targets.onnx.archives import pack, pack_files
from dycl.targets.onnx.graphs import Graphs


def test_files_under_an_archive_are_packed_and_the_others_stay() -> None:
    files = {"subgraphs.zip/a.onnx": b"a", "kernels.so": b"k", "subgraphs/b.vm": b"b", "tuned.zip/a.onnx": b"t"}
    packed = pack_files(files)
    assert list(packed) == ["kernels.so", "subgraphs/b.vm", "subgraphs.zip", "tuned.zip"]
    assert packed["subgraphs.zip"] == pack({"a.onnx": b"a"}) != packed["tuned.zip"]


def test_what_was_packed_is_read(tmp_path: Path) -> None:
    graphs = {f"{number}.onnx": bytes([number]) * 10_000 for number in range(3)}
    for name, data in pack_files({f"subgraphs.zip/{name}": data for name, data in graphs.items()}).items():
        (tmp_path / name).write_bytes(data)
    assert (tmp_path / "subgraphs.zip").stat().st_size < 1000
    found = Graphs(tmp_path)
    assert {name: found.read(f"subgraphs.zip/{name}") for name in graphs} == graphs
    with pytest.raises(KeyError):
        found.read("subgraphs.zip/3.onnx")


def test_an_archive_tells_nothing_of_time_and_system(monkeypatch: pytest.MonkeyPatch) -> None:
    first = pack({"a.onnx": b"graph"})
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("sys.platform", "win32")
    assert pack({"a.onnx": b"graph"}) == first


def test_other_programs_can_unpack_it(tmp_path: Path) -> None:
    (tmp_path / "subgraphs.zip").write_bytes(pack({"a.onnx": b"graph"}))
    with zipfile.ZipFile(tmp_path / "subgraphs.zip") as archive:
        assert archive.testzip() is None
        (member,) = archive.infolist()
        assert member.external_attr >> 16 == 0o644
