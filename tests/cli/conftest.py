"""A compiled gate model for the tests of the commands; makes `driving` importable, which the driver's tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_TESTS = str(Path(__file__).parent.parent)
if _TESTS not in sys.path:
    sys.path.append(_TESTS)


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
