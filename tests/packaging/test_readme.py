"""The README's excerpts are what the compiler writes today, and its Python runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dycl.cli import app

GATE = """\
import torch


class Gate(torch.nn.Module):
    def forward(self, x):
        \"A gate that adds noise.\"
        if x.sum().item() > 0:
            x = x + torch.rand(3)
        return x


build = Gate


def example_inputs():
    return (torch.ones(3),)
"""


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    """The text."""
    return (root / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_host_in_the_readme_is_the_generated_one(readme: str, root: Path) -> None:
    found = re.search(r"^<!-- host of (\S+) -->\n```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert found is not None
    done = CliRunner().invoke(app, ["compile", str(root / found[1]), "--stop-after", "host"])
    assert done.exit_code == 0, done.output
    written = iter(done.stdout.splitlines())
    shown = [line for line in found[2].splitlines() if line.strip() not in ("", "...")]
    assert len(shown) > 8
    assert [line for line in shown if line not in written] == []  # in this order: `in` consumes the iterator


def test_the_python_of_the_readme_runs(readme: str, root: Path, tmp_path: Path) -> None:
    (script,) = [block for block in blocks(readme, "python") if "import dycl" in block]
    command = [sys.executable, "-c", script.replace('"build/', f'"{tmp_path}/build/')]
    (tmp_path / "build").mkdir()
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "while len(words) < self.max_len:" in done.stdout


def test_the_error_in_the_readme_is_the_real_one(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = [block for block in blocks(readme, "text") if "error DY202" in block]
    (tmp_path / "gate.py").write_text(GATE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["check", "gate.py"])
    assert done.exit_code == 1
    assert shown in done.stderr.replace(f"{tmp_path}/", "")
