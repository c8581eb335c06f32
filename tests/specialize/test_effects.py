"""What the outside says is asked by the host, when the source asks it; or it is refused, never frozen."""

from __future__ import annotations

import collections
import glob
import itertools
import os
import pathlib
import platform
import re
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dycl.diagnostics import UnsupportedError
from dycl.hostgen.host import write_host
from dycl.ir.executor import Executor
from dycl.passes.specialize.specializer import specialize

X = torch.tensor([[1.0, -2.0, 3.0, 0.5]])
NUMBERS = itertools.count()


class Made(nn.Module):
    """A model around a plain function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.layer = nn.Linear(4, 4)
        self.pairs = zip((1, 2), (3, 4), strict=True)

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


def by_get(self, x):
    return x * 2 if os.environ.get("DYCL_TEST_FLAG", "0") == "1" else x


def by_membership(self, x):
    return x * 2 if "DYCL_TEST_FLAG" in os.environ else x


def by_item(self, x):
    try:
        return x * int(os.environ["DYCL_TEST_FLAG"])
    except KeyError as error:
        return x, error.args


def by_getenv(self, x):
    return (os.getenv("DYCL_TEST_FLAG") or "none").upper()


@pytest.mark.parametrize("function", [by_get, by_membership, by_item, by_getenv], ids=lambda f: f.__name__)
@pytest.mark.parametrize("compiled_with", [None, "1"])
def test_environment_is_read_when_the_model_runs(function, compiled_with, monkeypatch) -> None:
    def put(value):
        if value is None:
            monkeypatch.delenv("DYCL_TEST_FLAG", raising=False)
        else:
            monkeypatch.setenv("DYCL_TEST_FLAG", value)

    put(compiled_with)
    made = specialize(Made(function), (X,))
    executor = Executor(made.program, made.environment)
    for value in (None, "1", "2", None):
        put(value)
        with torch.no_grad():
            wanted, got = Made(function)(X), executor.call(X)
        assert str(wanted) == str(got)


def test_host_reads_the_environment_itself() -> None:
    def function(self, x):
        return os.environ.get("DYCL_TEST_FLAG", "0")

    made = specialize(Made(function), (X,))
    text = write_host(made.program, source_hash="", version="")
    assert "\nimport os\n" in text and "os.environ['DYCL_TEST_FLAG']" in text.replace('"', "'")


REFUSED: dict[str, tuple[str, Callable[..., Any]]] = {
    "exists": ("DY210", lambda self, x: x if os.path.exists("/tmp/flag") else x + 1),
    "path exists": ("DY210", lambda self, x: x if pathlib.Path("/tmp/flag").exists() else x + 1),
    "path read": ("DY210", lambda self, x: x * float(pathlib.Path("/tmp/number").read_text(encoding="utf-8"))),
    "directory": ("DY210", lambda self, x: (x, str(pathlib.Path.cwd()))),
    "glob": ("DY210", lambda self, x: (x, len(glob.glob("/tmp/*")))),
    "name of the machine": ("DY210", lambda self, x: (x, socket.gethostname())),
    "kind of the machine": ("DY210", lambda self, x: x if platform.machine() == "x86_64" else x + 1),
    "threads of torch": ("DY210", lambda self, x: x / torch.get_num_threads()),
    "arguments of the process": ("DY210", lambda self, x: (x, len(sys.argv))),
    "thread": ("DY210", lambda self, x: (x, threading.get_ident())),
    "environment as a whole": ("DY210", lambda self, x: (x, len(dict(os.environ)))),
    "hash of a text": ("DY210", lambda self, x: x * hash("abc")),
    "hash of a tensor": ("DY210", lambda self, x: (x, hash(x))),
    "address": ("DY210", lambda self, x: x if x.data_ptr() == self.layer.weight.data_ptr() else x + 1),
    "global counter": ("DY206", lambda self, x: x * next(NUMBERS)),
    "iterator of the model": ("DY206", lambda self, x: [x * a for a, _ in self.pairs]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_frozen_is_refused(name: str) -> None:
    code, function = REFUSED[name]
    with pytest.raises(UnsupportedError) as caught:
        specialize(Made(function), (X,))
    assert caught.value.code == code


def harmless(self, x):
    found = [int(match.group()) for match in re.finditer(r"\d", "1a2")]
    near = collections.Counter(pathlib.PurePosixPath("a/b/a").parts)["a"]
    return x.to(next(self.parameters()).dtype) * sum(found) * near * (hash((1, 2.0)) == hash((1, 2.0))), bool(
        platform.python_version()
    )


def test_what_only_computes_still_runs_at_compile_time() -> None:
    made = specialize(Made(harmless), (X,))
    assert torch.equal(Executor(made.program, made.environment).call(X)[0], harmless(Made(harmless), X)[0])


def test_a_profiler_goes_on_and_changes_nothing() -> None:
    """It is watched through the same hook, which then belongs to somebody else."""
    import cProfile

    def function(self, x):
        return x * len(re.sub(r"[aeiou]", "", "education"))

    profiler = cProfile.Profile()
    profiler.enable()
    try:
        made = specialize(Made(function).eval(), (X,), {})
        sorted([2, 1])
    finally:
        profiler.disable()
    assert torch.equal(Executor(made.program, made.environment).call(X), X * 4)
    assert any("sorted" in str(entry.code) for entry in profiler.getstats())


def test_a_function_of_another_module_of_numpy_is_not_numpys_own_of_that_name() -> None:
    """`np.ma.where` makes a masked array; taken for `np.where` it would make another."""

    def function(self, x):
        return np.ma.where(x.numpy() > 0, x.numpy(), 0.5)

    with pytest.raises(UnsupportedError) as caught:
        specialize(Made(function), (X,))
    assert caught.value.code == "DY203"
