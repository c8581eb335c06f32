"""A wheel built without the links holds everything, and works where nothing of the repository is on the path."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

IMPORT_ALL = """\
import importlib, json, sys
print(json.dumps({name: importlib.import_module(name).__file__ for name in sys.argv[1:]}))
"""


@pytest.fixture(scope="module")
def wheel(root: Path, project: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the source, without links and without anything that git ignores."""
    copy, output = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    links = {str(root / "dycl" / name) for name in ("passes", "hostgen", "targets")}

    def ignored(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if name == "__pycache__" or str(Path(folder) / name) in links}

    for folder in project["tool"]["setuptools"]["package-dir"].values():
        shutil.copytree(root / folder, copy / folder, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(root / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*command, "--wheel-dir", output, copy], check=True, capture_output=True)
    (made,) = output.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; what dycl depends on comes from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("fresh") / "env"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(command, check=True, capture_output=True)
    # A folder that a .pth file names is put on the path, no more: the .pth file of an editable dycl in it is not read.
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_the_packages_are_those_of_the_tree(project: dict[str, Any], package_files: dict[str, Path]) -> None:
    in_tree = {name.removesuffix("/__init__.py").replace("/", ".") for name in package_files if "/__init__.py" in name}
    listed = project["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(in_tree)
    folders = {name.rpartition("/")[0].replace("/", ".") for name in package_files if name.endswith(".py")}
    assert folders == in_tree, "a folder with modules has no __init__.py"


def test_the_wheel_holds_every_file(wheel: Path, package_files: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == set(package_files)


def test_every_module_can_be_imported(environment: Path, modules: dict[str, Path], tmp_path: Path) -> None:
    command = [environment / "bin" / "python", "-I", "-c", IMPORT_ALL, *sorted(modules)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert sorted(found) == sorted(modules)
    assert [path for path in found.values() if not path.startswith(str(environment))] == []


def test_the_command_works(environment: Path, project: dict[str, Any], tmp_path: Path) -> None:
    command = [environment / "bin" / "dycl", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (0, f"dycl {project['project']['version']}\n"), done.stderr


def test_the_entry_points_of_targets_are_found(environment: Path, tmp_path: Path) -> None:
    code = "import sys; from dycl.targets.base import find_target; print(find_target('onnxruntime').name)"
    command = [environment / "bin" / "python", "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (0, "onnxruntime\n"), done.stderr
