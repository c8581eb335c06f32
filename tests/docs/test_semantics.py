"""Every row of the table in docs/semantics.md holds: supported models agree with eager, refused ones say their code."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dycl.diagnostics import DyclError
from dycl.ir.executor import Executor
from dycl.pipeline import Settings, check_model

SEEDS = range(12)


def inputs(seed: int) -> torch.Tensor:
    return torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)) * 1.5


def outcome(call: Callable[[], Any]) -> Any:
    """The value, or what was raised."""
    try:
        with torch.no_grad():
            return call()
    except Exception as error:
        return type(error).__name__, error.args


def agree(found: Any, expected: Any) -> bool:
    if isinstance(expected, torch.Tensor):
        return isinstance(found, torch.Tensor) and torch.equal(found, expected)
    if isinstance(expected, (tuple, list)):
        return type(found) is type(expected) and len(found) == len(expected) and all(map(agree, found, expected))
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(agree(found[key], expected[key]) for key in expected)
    return type(found) is type(expected) and found == expected


def run(model: Any) -> None:
    """Compile, then hold the program against eager, call by call."""
    eager = copy.deepcopy(model)
    checked = check_model(model, (inputs(0),), {}, Settings())
    executor = Executor(checked.program, checked.environment)
    for seed in SEEDS:
        expected = outcome(lambda seed=seed: eager(inputs(seed)))  # type: ignore[misc]
        found = outcome(lambda seed=seed: executor.call(inputs(seed)))  # type: ignore[misc]
        assert agree(found, expected), f"seed {seed}: {found} instead of {expected}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "claim" in metafunc.fixturenames:
        claims = load_claims().CLAIMS
        reason = "a known gap: if it works now, move its row in docs/semantics.md and make it a claim"
        mark = pytest.mark.xfail(strict=True, reason=reason)
        params = [pytest.param(c, id=c.model.__name__, marks=[mark] if c.is_gap else []) for c in claims]
        metafunc.parametrize("claim", params)


_loaded: list[ModuleType] = []


def load_claims() -> ModuleType:
    """The module of claims, imported once."""
    import importlib.util
    import sys

    if not _loaded:
        path = Path(__file__).with_name("claims.py")
        spec = importlib.util.spec_from_file_location("docs_claims", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["docs_claims"] = module
        spec.loader.exec_module(module)
        _loaded.append(module)
    return _loaded[0]


def test_a_claim_holds(claim: Any) -> None:
    torch.manual_seed(0)
    model = claim.model().eval()
    if not claim.code:
        run(model)
        return
    with pytest.raises(DyclError) as refused:
        run(model)
    assert refused.value.code == claim.code
    assert refused.value.loc.line or claim.code == "DY214"


def test_the_table_lists_the_claims(docs: Path) -> None:
    text = (docs / "semantics.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (.+?) \| (yes|DY\d{3}|not yet) \|", text, re.MULTILINE))
    claims = {c.row: "not yet" if c.is_gap else c.code or "yes" for c in load_claims().CLAIMS}
    assert rows == claims
