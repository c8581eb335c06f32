"""Random programs through everything: exported, run by ONNX Runtime, compared with eager on inputs of their own.

`python -m tests.fuzz.artifacts FIRST COUNT [FOLDER]`. A compile takes seconds, so this is for a sample of the programs.
Rounding differs between torch and the target: numbers are compared loosely, and a call on which another decision is
taken than in eager counts as a tie only where dycl's own verification says so for its samples; here it is shown.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dycl
from dycl.diagnostics import DyclError
from tests.fuzz.programs import write_program
from tests.fuzz.running import EAGER_SECONDS, TooSlow, build, eager_calls, load, make_inputs, time_limit

SAMPLES = 8
SECONDS = 120.0


def close(wanted: Any, got: Any) -> bool:
    """Whether two results are the same but for rounding; classes are compared by name, a host's may be stand-ins."""
    if isinstance(wanted, torch.Tensor):
        got = torch.as_tensor(np.asarray(got)) if not isinstance(got, torch.Tensor) else got
        same = wanted.dtype == got.dtype and wanted.shape == got.shape
        return same and torch.allclose(wanted, got, rtol=1e-3, atol=1e-4, equal_nan=True)
    if type(wanted).__name__ != type(got).__name__:
        return False
    if isinstance(wanted, float):
        return bool(np.isclose(wanted, got, rtol=1e-3, atol=1e-4, equal_nan=True))
    if isinstance(wanted, dict):
        return list(wanted) == list(got) and close(list(wanted.values()), list(got.values()))
    if isinstance(wanted, (list, tuple)):
        return len(wanted) == len(got) and all(close(a, b) for a, b in zip(wanted, got, strict=True))
    return close(vars(wanted), vars(got)) if hasattr(wanted, "__dict__") else bool(wanted == got)


def run_artifact(path: Path, inputs: tuple[str, ...]) -> tuple[str, str]:
    """A verdict and a story."""
    try:
        with time_limit(EAGER_SECONDS):
            module = load(path)
            expected = eager_calls(build(module), inputs, SAMPLES)
    except (TooSlow, Exception) as error:
        return "invalid", repr(error)
    if any(answer[0] == "raises" for answer, _ in expected):
        return "invalid", "raises"
    try:
        with time_limit(SECONDS):
            model = build(module)
            compiled = dycl.compile(
                model, make_inputs(inputs, 100), sample_inputs=lambda s: make_inputs(inputs, 100 + s), samples=4
            )
            for seed, (answer, _) in enumerate(expected):
                got = compiled(*make_inputs(inputs, seed))
                if not close(answer[1], got):
                    return "mismatch", f"call {seed}\n  eager: {answer[1]}\n  host:  {got}"
    except TooSlow:
        return "too slow", ""
    except DyclError as error:
        return f"refused {error.code}", str(error)
    except Exception:
        return "internal error", traceback.format_exc()
    return "equal", ""


def main(first: int, count: int, kept: Path) -> None:
    """Run the seeds; what is not equal is kept."""
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        for seed in range(first, first + count):
            rng = random.Random(seed)
            program = write_program(rng, rng.choice([4, 8]))
            path = Path(name) / f"artifact_{seed}.py"
            path.write_text(program.text, encoding="utf-8")
            start = time.monotonic()
            with contextlib.redirect_stdout(io.StringIO()):
                verdict, story = run_artifact(path, program.inputs)
            seconds = round(time.monotonic() - start, 1)
            print(json.dumps({"seed": seed, "verdict": verdict, "story": story[:300], "seconds": seconds}), flush=True)
            if verdict not in ("equal", "invalid"):
                notes = "".join(f"# {line}\n" for line in f"{verdict}\n{story}".splitlines())
                (kept / f"artifact{seed}.py").write_text(
                    f"# inputs: {' '.join(program.inputs)}\n{program.text}\n{notes}"
                )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3] if len(sys.argv) > 3 else "build/fuzz"))
