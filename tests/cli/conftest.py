"""The gate model for the tests of the commands; makes `driving` and `commanding` importable, which these share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_SHARED = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
sys.path += [folder for folder in _SHARED if folder not in sys.path]


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The gate model's file, the hand-written program in the specializer's place, and a target that is quick."""
    import commanding
    import driving

    from dycl import pipeline

    path = driving.write_gate(tmp_path)
    driving.replace_specializer(monkeypatch, pipeline, path)
    monkeypatch.setattr(pipeline, "find_target", lambda name: commanding.FakeTarget())
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of the gate model, compiled once; copy it before you change it."""
    import driving

    from dycl import loading, pipeline

    folder = tmp_path_factory.mktemp("gate")
    path = driving.write_gate(folder)
    with pytest.MonkeyPatch.context() as patch:
        driving.replace_specializer(patch, pipeline, path)
        loaded = loading.load_model(str(path))
        settings = pipeline.Settings(verify=False, emit=("ir", "torch"))
        pipeline.compile_model(loaded.model, loaded.args, loaded.kwargs, settings, output=folder / "artifact")
    return folder / "artifact"
