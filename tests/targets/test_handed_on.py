"""Values of unknown size that only subgraphs see: handed on as they were made, never an array."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dycl
from dycl.artifact import load_artifact


class Grow(nn.Module):
    """A cache that grows with each step; the step's own value is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cache = x
        for _ in range(20):
            new = self.step(cache.mean(0, keepdim=True))
            cache = torch.cat([cache, new])
            if new.sum() > 0.3:
                break
        return cache.sum(0), new


@pytest.fixture(scope="module")
def model() -> Grow:
    torch.manual_seed(0)
    return Grow().eval()


@pytest.fixture(scope="module")
def artifact(model: Grow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("handed") / "grow"
    dycl.compile(model, torch.randn(3, 4), output=place)
    return place


def _assert_equals(host: Any, model: Grow) -> None:
    random = torch.Generator().manual_seed(1)
    for seed in range(12):
        x = torch.randn(3, 4, generator=random) * (seed % 4 - 1)
        with torch.no_grad():
            expected = model(x)
        for found, wanted in zip(host(x.numpy()), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_what_only_subgraphs_see_never_becomes_an_array(artifact: Path, model: Grow) -> None:
    host = load_artifact(artifact, threads=1).host
    made = set()
    calls = {id(call) for call in host.runtime.calls.values()}  # type: ignore[attr-defined]
    for attribute, call in list(vars(host).items()):
        if id(call) in calls:  # a subgraph

            def noted(*values: Any, call: Any = call) -> Any:
                results = call(*values)
                made.update(type(each) for each in results) if isinstance(results, tuple) else None
                return results

            setattr(host, attribute, noted)
    _assert_equals(host, model)
    assert len(made) == 2
    assert np.ndarray in made


def _dispatch(host: Any) -> Any:
    """The module of the artifact that calls sessions."""
    return sys.modules[type(host.runtime).__module__.replace(".runtime", ".dispatch")]


@pytest.mark.parametrize("patch", [{"_can_bind": lambda _: False}, {"MOST_KEPT": 0}], ids=["unbound", "no frames"])
def test_the_plain_call_takes_and_gives_arrays(artifact: Path, model: Grow, patch: dict[str, Any]) -> None:
    host = load_artifact(artifact, threads=1, lazy=True).host
    module = _dispatch(host)
    for name, value in patch.items():
        setattr(module, name, value)
    _assert_equals(host, model)


def test_what_one_call_made_the_plain_call_of_another_takes(artifact: Path, model: Grow) -> None:
    """A subgraph that has no memory left to bind, behind one that has."""
    host = load_artifact(artifact, threads=1, lazy=True).host
    module = _dispatch(host)
    _assert_equals(host, model)
    plain = module._plain_call
    summed = next(name for name in vars(host) if "sum" in name)
    entry = next(entry for name, entry in host.runtime._subgraphs.items() if "sum" in name)  # type: ignore[attr-defined]
    setattr(host, summed, plain(host.runtime._session(entry), entry, {}))  # type: ignore[attr-defined]
    _assert_equals(host, model)
