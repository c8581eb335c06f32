"""Where the bytes of an artifact are."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bench.real import REAL, RealNetwork
from bench.sizes import REAL_HEAD, compile_real, main, measure, real_line, table

SMALLEST = "MSDNet, CIFAR-100"  # of the networks as wide as they are used


def test_every_byte_is_told_once(tmp_path: Path) -> None:
    artifact = tmp_path / "skipnet" / "artifact"
    sizes = {
        "weights.bin": 100, "host.py": 7, "manifest.json": 11, "runtime.py": 20, "__init__.py": 3, "tuned.bin": 30,
        "subgraphs.zip": 13, "tuned.zip": 5, "__pycache__/host.cpython-311.pyc": 1000,
    }  # fmt: skip
    for name, size in sizes.items():
        (artifact / name).parent.mkdir(parents=True, exist_ok=True)
        (artifact / name).write_bytes(b"x" * size)
    found = measure(artifact)
    assert found == {"weights": 100, "host": 7, "manifest": 11, "runtime": 23, "graphs": 13, "tuned": 35}
    (tmp_path / "skipnet" / "prepared.json").write_text(json.dumps({"state_dict_bytes": 100}))
    assert table(tmp_path)[1:] == [["skipnet", "100", "100", "13", "7", "11", "23", "1.54", "1.31", "1.89"]]


def test_how_wide_a_network_must_be_for_the_goal() -> None:
    """What is not weights is 50 here, a twentieth of 1000."""
    line = real_line("Net", 2000, Counter(weights=2000, graphs=20, host=10, manifest=5, runtime=15))
    assert dict(zip(REAL_HEAD, line, strict=True))["artifact / state dict"] == "1.025"
    assert line[-1] == "1,000"


@pytest.mark.parametrize(
    "network",
    [pytest.param(each, id=each.name, marks=[] if each.title == SMALLEST else [pytest.mark.slow]) for each in REAL],
)
def test_a_network_as_wide_as_it_is_used_is_hardly_larger_than_its_weights(network: RealNetwork) -> None:
    title, *_, ratio, enough = compile_real(network)
    assert title == network.title
    assert float(ratio) <= 1.05
    assert int(enough.replace(",", "")) > 1_000_000  # runtime, host and manifest are there


def test_a_look_at_some_of_the_real_networks_replaces_no_table() -> None:
    app = typer.Typer()
    app.command()(main)
    for options in (["--only", "SkipNet"], ["--real", "--only", "SkipNet", "--write-docs"]):
        assert CliRunner().invoke(app, options).exit_code == 2
