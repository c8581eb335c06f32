"""Ctrl-C at a terminal amid a search for schedules: what was found stays, and the artifact is not there."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path

import pytest
import typer

from dycl.cache import Cache
from dycl.cli_output import reporting
from dycl.targets.tvm.tuning import Record, decode_record

pytest.importorskip("tvm")

MODEL = """
import torch


def build():
    torch.manual_seed(0)
    return torch.nn.Linear(96, 96).eval()


def example_inputs():
    return torch.ones(32, 96)
"""
LIMIT = 100.0


def press(pattern: str, command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command at a terminal of its own, press Ctrl-C once it shows that; how it ended, and all it showed."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(command[0], command, environment)
    shown, pressed, end = b"", False, time.monotonic() + LIMIT
    try:
        while time.monotonic() < end:
            if not select.select([terminal], [], [], 1.0)[0]:
                continue
            try:
                read = os.read(terminal, 1 << 16)
            except OSError:  # the other side is closed
                break
            if not read:
                break
            shown += read
            if not pressed and re.search(pattern.encode(), shown):
                pressed = True
                os.write(terminal, b"\x03")  # the terminal makes a SIGINT of it, for all processes in front
        else:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(terminal)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), shown.decode(errors="replace")


def records(cache: Path) -> list[Record]:
    """What the database holds, every entry whole: one that is not counts as missing."""
    opened = Cache(cache, 1 << 30)
    keys = [path.name for path in cache.glob("??/*")]
    contents = [opened.get(key) for key in keys]
    assert all(content is not None for content in contents)
    return [decode_record(content) for content in contents if content is not None and content.startswith(b'{"trials"')]


@pytest.mark.slow
def test_what_was_found_stays(tmp_path: Path) -> None:
    (tmp_path / "wide.py").write_text(MODEL)
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "dycl.cli", "compile", str(tmp_path / "wide.py"), "-o", str(tmp_path / "wide")]
    command += ["--target", "tvm", "--no-verify", "--tune"]
    environment = os.environ | {"DYCL_CACHE_DIR": str(cache), "TERM": "xterm", "COLUMNS": "160"}
    code, shown = press(r": (9|\d\d+) of 4000 tried", [*command, "4000"], environment)
    assert code == 130
    assert "interrupted: what was measured is kept, the next compile goes on from it" in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "wide").exists()
    assert [path for path in tmp_path.iterdir() if path.name not in ("wide.py", "cache", "__pycache__")] == []
    (record,) = records(cache)
    assert record.trials >= 8 and record.trials % 8 == 0 and record.best

    code, shown = press("nothing like it", [*command, str(record.trials + 4)], environment)
    assert code == 0, shown
    tried = {int(number) for number in re.findall(rf": (\d+) of {record.trials + 4} tried", shown)}
    assert not tried or min(tried) > record.trials  # it goes on where it stopped
    assert [each.trials for each in records(cache)] == [record.trials + 4]
    assert (tmp_path / "wide" / "host.py").exists()


def test_any_command_says_that_it_was_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, reporting():
        raise KeyboardInterrupt
    assert (ended.value.exit_code, capsys.readouterr().err) == (130, "interrupted\n")
