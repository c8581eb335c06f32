"""Options of the whole test suite."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# One seed for all: the suite finds the same today and tomorrow, on every machine. What is new is for `--fuzz` to find.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=50, print_blob=True)
settings.register_profile("fuzz", deadline=None, max_examples=200, print_blob=True)

WILD = Path(__file__).parent / "wild"

_CACHE = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` rewrites the expected part of golden files; `--fuzz N` repeats what is randomised."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden; read the diff")
    parser.addoption(
        "--fuzz", type=int, default=0, metavar="N", help="N rounds of each randomised test, each with other examples"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose how hypothesis works before the test modules read the settings; give the run a cache of its own."""
    config.stash[_CACHE] = os.environ["DYCL_CACHE_DIR"] = tempfile.mkdtemp(prefix="dycl-cache-")
    settings.load_profile("fuzz" if config.getoption("--fuzz") else "suite")


def pytest_unconfigure(config: pytest.Config) -> None:
    """The cache goes with the run."""
    shutil.rmtree(config.stash.get(_CACHE, ""), ignore_errors=True)


def pytest_collection_finish() -> None:
    """Spare the collector what is there before the first test and stays to the end; and let it come seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, *gc.get_threshold()[1:])  # compiles make millions of objects; CPython's own number is 700


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Models of other packages are not even imported where none of their tests will run."""
    excluded = collection_path == WILD and "not wild" in config.option.markexpr
    return True if excluded else None


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def fuzz_seed(request: pytest.FixtureRequest) -> int:
    """The seed of a randomised test that does without hypothesis: 0, and under `--fuzz` the number of the round."""
    return int(getattr(request, "param", 0))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Under `--fuzz`, one item a round of each randomised test."""
    rounds = metafunc.config.getoption("--fuzz")
    random = getattr(metafunc.function, "is_hypothesis_test", False) or "fuzz_seed" in metafunc.fixturenames
    if rounds and random:
        if "fuzz_seed" not in metafunc.fixturenames:
            metafunc.fixturenames.append("fuzz_seed")
        metafunc.parametrize("fuzz_seed", range(rounds), indirect=True, ids=lambda number: f"round{number}")
