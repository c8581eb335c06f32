"""What the repository says about itself is true: pins, make targets, the commands of the README."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

WANTED = ("dev", "demo", "test", "lint", "types", "golden", "zoo-train", "fuzz", "clean")


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, str]:
    """The version of each distribution that constraints.txt names."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs)
    return {canonicalize_name(name): version for name, version in pairs}


def required(project: dict[str, Any]) -> list[Requirement]:
    extras = project["project"]["optional-dependencies"]
    groups = [project["project"]["dependencies"], *(extras[name] for name in sorted(extras) if name != "wild")]
    return [Requirement(text) for group in groups for text in group]


def test_every_requirement_is_pinned_within_its_range(project: dict[str, Any], pins: dict[str, str]) -> None:
    for requirement in required(project):
        assert Version(pins[canonicalize_name(requirement.name)]) in requirement.specifier, requirement


def test_what_the_requirements_need_is_pinned_too(project: dict[str, Any], pins: dict[str, str]) -> None:
    todo, seen = [canonicalize_name(requirement.name) for requirement in required(project)], set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        assert name in pins
        try:
            needs = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue  # an environment without the extra "dev"; that of `make dev` has all of them
        todo += [canonicalize_name(need.name) for need in needs if need.marker is None or need.marker.evaluate()]
    assert "dycl" not in pins


def test_torch_is_pinned_to_a_version_without_a_build(pins: dict[str, str]) -> None:
    assert Version(pins["torch"]).local is None


@pytest.mark.parametrize("target", WANTED)
def test_make_knows_the_target(target: str, root: Path) -> None:
    command = ["make", "--dry-run", "--no-print-directory", "VENV=/nowhere/venv", target]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if target != "clean":  # whatever a target does, it makes the environment first
        assert "-m venv" in done.stdout
        assert "-c constraints.txt" in done.stdout


def test_the_readme_names_only_targets_and_files_that_exist(root: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    rules = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", readme)) <= rules
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", readme) if "://" not in link]
    assert [link for link in links if not (root / link).exists()] == []


def test_ci_runs_the_command_of_the_readme(root: Path) -> None:
    lines = (root / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["exec make test"]
    assert "make test" in (root / "README.md").read_text(encoding="utf-8")
