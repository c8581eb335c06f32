"""The bench on a GPU: what it says where there is none, what it makes of measurements, and a rehearsal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench import gpu
from bench.rows import ROWS

app = typer.Typer()
app.command()(gpu.main)


@pytest.mark.skipif(not gpu.find_missing(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_is_missing_and_measures_nothing() -> None:
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 1
    assert "Nothing is measured" in done.stdout
    for text in gpu.find_missing():
        assert text in done.stdout
    assert not gpu.RESULTS.exists()


def row(model: str, **more: Any) -> dict[str, Any]:
    found = {"model": model, "device": "a GPU", "elsewhere": {}, "missing": {}}
    found |= {"eager_us": 3000.0, "oracle_us": 400.0, "dycl_us": 500.0, "ratio_oracle": 1.25, "ratio_eager": 6.0}
    return found | more


def test_the_table_has_what_was_measured() -> None:
    rows = [
        row("skipnet"),
        row("moe", torch_compile_us=1000.0, ratio_torch_compile=2.0, elsewhere={"NonZero": 2, "Shape": 1}),
    ]
    head, first, second = gpu.table(rows)
    assert len(head) == len(first) == len(second)
    assert first == ("skipnet", "3,000", "-", "-", "400", "500", "1.25", "6.00", "0")
    assert second == ("moe", "3,000", "1,000", "-", "400", "500", "1.25", "2.00", "3")
    assert gpu.section(rows, "a machine").startswith("## On a GPU\n\na GPU; a machine.")


@pytest.mark.slow
def test_a_rehearsal_measures_all_but_torch_on_a_gpu(tmp_path: Path) -> None:
    found = gpu.measure_row(ROWS["shallow_deep"], tmp_path / "artifact", "cpu", 0.0)
    assert found["verified"].startswith("21 calls")
    assert found["elsewhere"] == {}
    assert {"eager_us", "oracle_us", "dycl_us"} <= set(found)
