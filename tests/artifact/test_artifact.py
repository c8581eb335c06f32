"""Artifacts on disk: written at once or not at all, verified, installable."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dycl import artifact
from dycl.artifact import load_artifact, stage_artifact
from dycl.diagnostics import UsageError
from dycl.package import find_package_name, write_init, write_pyproject
from tests.artifact.manifests import toy_manifest

HOST = """\
from .support import ANSWER


class Toy:
    def __init__(self, *, threads=None, lazy=False):
        self.answer = ANSWER
"""


def write_toy(output: Path, answer: int = 42) -> None:
    """A small artifact, published."""
    with stage_artifact(output) as staging:
        fill(staging, answer)
        staging.publish()


def fill(staging: artifact.Staging, answer: int = 42) -> None:
    staging.write("__init__.py", write_init("Toy", "0"))
    staging.write("host.py", HOST)
    staging.write("support.py", f"ANSWER = {answer}\n")
    staging.write("pyproject.toml", write_pyproject("toy", "Toy", "0", ("numpy>=1.26",)))
    (staging.directory / "lib").mkdir()
    (staging.directory / "lib" / "runtime.so").write_bytes(b"library")
    (staging.directory / "subgraphs.zip").write_bytes(b"graphs")
    (staging.directory / "weights.bin").write_bytes(bytes(64))
    staging.seal(toy_manifest())


def answer_of(directory: Path) -> int:
    host: Any = load_artifact(directory).host
    return int(host.answer)


def entries(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_written_and_loaded(tmp_path: Path) -> None:
    write_toy(tmp_path / "deep" / "toy")
    assert answer_of(tmp_path / "deep" / "toy") == 42
    assert entries(tmp_path / "deep") == ["toy"]


def test_every_file_is_hashed(tmp_path: Path) -> None:
    write_toy(tmp_path / "toy")
    files = load_artifact(tmp_path / "toy").manifest.files
    there = {p.relative_to(tmp_path / "toy").as_posix() for p in (tmp_path / "toy").rglob("*") if p.is_file()}
    assert set(files) == there - {"manifest.json"}
    assert {"subgraphs.zip", "lib/runtime.so"} <= set(files)


def test_modules_go_with_the_host(tmp_path: Path) -> None:
    write_toy(tmp_path / "toy")
    gc.collect()
    before = set(sys.modules)
    loaded = [load_artifact(tmp_path / "toy") for _ in range(3)]
    assert len(set(sys.modules) - before) >= 6  # of each the package and its host
    kept = loaded.pop()
    del loaded
    gc.collect()
    last = load_artifact(tmp_path / "toy")
    left = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert left == {kept.package.__name__, last.package.__name__}


def test_same_bytes(tmp_path: Path) -> None:
    write_toy(tmp_path / "a")
    write_toy(tmp_path / "b")
    assert (tmp_path / "a" / "manifest.json").read_bytes() == (tmp_path / "b" / "manifest.json").read_bytes()


def test_emitted_files_are_not_hashed(tmp_path: Path) -> None:
    write_toy(tmp_path / "plain")
    with stage_artifact(tmp_path / "emitting") as staging:
        (staging.directory / "emit").mkdir()
        (staging.directory / "emit" / "program.txt").write_text("program")
        fill(staging)
        staging.publish()
    assert (tmp_path / "emitting" / "emit" / "program.txt").exists()
    assert (tmp_path / "plain" / "manifest.json").read_bytes() == (tmp_path / "emitting" / "manifest.json").read_bytes()


def test_unpublished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), stage_artifact(tmp_path / "toy") as staging:
        fill(staging)
        raise RuntimeError
    assert entries(tmp_path) == []


def test_failure_keeps_the_old_artifact(tmp_path: Path) -> None:
    write_toy(tmp_path / "toy", 1)
    with pytest.raises(RuntimeError), stage_artifact(tmp_path / "toy") as staging:
        fill(staging, 2)
        raise RuntimeError
    assert answer_of(tmp_path / "toy") == 1


@pytest.mark.parametrize("exchanges", [True, False])
def test_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool) -> None:
    if not exchanges:
        monkeypatch.setattr(artifact, "_exchange", lambda first, second: False)
    write_toy(tmp_path / "toy", 1)
    (tmp_path / "toy" / "left_over.txt").write_text("old")
    write_toy(tmp_path / "toy", 2)
    assert answer_of(tmp_path / "toy") == 2
    assert "left_over.txt" not in entries(tmp_path / "toy")
    assert entries(tmp_path) == ["toy"]


def test_kill_between_the_renames_is_recovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy(tmp_path / "toy", 1)
    monkeypatch.setattr(artifact, "_exchange", lambda first, second: False)
    child = os.fork()
    if child == 0:
        renames = []
        rename = Path.rename

        def dying(self: Path, target: Path) -> Path:
            if renames:
                os._exit(9)
            renames.append(target)
            return rename(self, target)

        Path.rename = dying  # type: ignore[method-assign, assignment]
        write_toy(tmp_path / "toy", 2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not (tmp_path / "toy").exists()
    with stage_artifact(tmp_path / "toy"):
        pass
    assert answer_of(tmp_path / "toy") == 1
    assert entries(tmp_path) == ["toy"]


def test_staging_of_a_killed_compile_is_cleaned(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with stage_artifact(tmp_path / "toy") as staging:
            fill(staging)
            os._exit(9)
    os.waitpid(child, 0)
    assert len(entries(tmp_path)) == 1
    write_toy(tmp_path / "toy")
    assert entries(tmp_path) == ["toy"]


def test_staging_of_a_running_compile_stays(tmp_path: Path) -> None:
    with stage_artifact(tmp_path / "toy") as running:
        fill(running, 1)
        write_toy(tmp_path / "toy", 2)
        assert running.directory.exists()
        running.publish()
    assert answer_of(tmp_path / "toy") == 1


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_refuses_what_is_not_ours(tmp_path: Path, kind: str) -> None:
    output = tmp_path / "precious"
    if kind == "file":
        output.write_text("precious")
    else:
        output.mkdir()
        (output / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError) as refused:
        write_toy(output)
    assert refused.value.code == "DY503"
    assert (output if kind == "file" else output / "thesis.tex").read_text() == "precious"


def test_an_empty_directory_is_free(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    write_toy(tmp_path / "toy")
    assert answer_of(tmp_path / "toy") == 42


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write") as refused:
        write_toy(tmp_path / "file" / "toy")
    assert refused.value.code == "DY503"


@pytest.mark.parametrize("name", ["host.py", "weights.bin", "subgraphs.zip", "lib/runtime.so", "pyproject.toml"])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damage_is_named(tmp_path: Path, name: str, damage: str) -> None:
    write_toy(tmp_path / "toy")
    path = tmp_path / "toy" / name
    if damage == "changed":
        path.write_bytes(path.read_bytes() + b" ")
    else:
        path.unlink()
    with pytest.raises(UsageError, match=name) as refused:
        load_artifact(tmp_path / "toy")
    assert refused.value.code == "DY404"


def test_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        load_artifact(tmp_path)
    assert refused.value.code == "DY404"


def test_two_artifacts_of_one_name(tmp_path: Path) -> None:
    write_toy(tmp_path / "one" / "toy", 1)
    write_toy(tmp_path / "two" / "toy", 2)
    before = set(sys.modules)
    assert (answer_of(tmp_path / "one" / "toy"), answer_of(tmp_path / "two" / "toy")) == (1, 2)
    assert "toy" not in set(sys.modules) - before


def test_loading_writes_nothing(tmp_path: Path) -> None:
    write_toy(tmp_path / "toy")
    before = sorted(tmp_path.rglob("*"))
    answer_of(tmp_path / "toy")
    assert sorted(tmp_path.rglob("*")) == before


PACKAGE = """
import sys
assert "dycl" not in sys.modules
import toy
try:
    print(toy.load().answer, toy.Toy().answer)
except toy.ArtifactError as error:
    print(error)
"""


def run_package(folder: Path) -> str:
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\n{PACKAGE}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_the_package_verifies_itself(tmp_path: Path) -> None:
    write_toy(tmp_path / "toy")
    assert run_package(tmp_path) == "42 42\n"
    (tmp_path / "toy" / "weights.bin").write_bytes(b"")
    assert "weights.bin has changed" in run_package(tmp_path)
    (tmp_path / "toy" / "weights.bin").unlink()
    assert "weights.bin is missing" in run_package(tmp_path)


def test_pip_installs_it(tmp_path: Path) -> None:
    write_toy(tmp_path / "some-directory")
    shutil.copytree(tmp_path / "some-directory", tmp_path / "copy")  # pip builds inside the source directory
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q", "--target"]
    command = [sys.executable, "-m", "pip", "install", *options, str(tmp_path / "site"), str(tmp_path / "copy")]
    subprocess.run(command, check=True, capture_output=True)
    assert run_package(tmp_path / "site") == "42 42\n"
    installed = json.loads((tmp_path / "site" / "toy" / "manifest.json").read_text())["files"]
    assert all((tmp_path / "site" / "toy" / name).is_file() for name in installed)


@pytest.mark.parametrize(
    ("name", "package"),
    [("ShallowDeep", "shallow_deep"), ("my model!", "my_model"), ("3d", "model_3d")],
)
def test_package_names(name: str, package: str) -> None:

    assert find_package_name(name) == package
