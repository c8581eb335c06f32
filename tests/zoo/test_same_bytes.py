"""Two compiles of one model in two processes with different hash seeds write the same bytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.zoo.compiled import ZOO


def compile_with_seed(name: str, seed: str, directory: Path) -> dict[str, bytes]:
    """Every file of the artifact."""
    command = [sys.executable, "-m", "dycl.cli", "compile", str(ZOO / f"{name}.py"), "-o", str(directory)]
    done = subprocess.run(
        [*command, "--no-verify"], capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}
    )
    assert done.returncode == 0, done.stderr
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pabee", "skipnet", "deebert"])
def test_same_bytes(name: str, tmp_path: Path) -> None:
    first, second = (compile_with_seed(name, seed, tmp_path / seed) for seed in ("1", "2"))
    assert {"host.py", "manifest.json", "weights.bin"} <= first.keys()
    assert first.keys() == second.keys()
    assert [path for path in first if first[path] != second[path]] == []
