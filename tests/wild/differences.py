"""Compiles a model into a directory and runs its host against the model itself, call after call."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import dycl
from dycl.comparison import ATOL, RTOL, Comparison
from dycl.trials import find_attribute

Decisions = tuple[tuple[int, bool], ...]  # the sites of a call and how it was decided there


def find_differences(
    model: nn.Module,
    inputs_for_seed: Callable[[int], Any],
    directory: Path,
    *,
    calls: int = 20,
    paths: int = 2,
    method: str = "forward",
    tolerance: tuple[float, float] = (RTOL, ATOL),
    **options: Any,
) -> tuple[list[str], list[Decisions]]:
    """What differs between the model and its host over a sequence of calls, and the path that each call took.

    `inputs_for_seed(seed)` gives the arguments of a call: a tuple, a dict of keyword arguments, or one value; seed 0
    is the example. At least `paths` different ones must be taken. Results, exceptions and the state that the model
    keeps between calls are compared; `options` go to `dycl.compile`. Under `rng="host"` both draw the same numbers.
    """
    options = {"verify": False} | options
    args, kwargs = _arguments(inputs_for_seed(0))
    model = model.eval()
    with torch.no_grad():
        host = dycl.compile(model, args, output=directory, kwargs=kwargs, method=method, **options)
    eager = copy.deepcopy(model)
    if options.get("rng") == "host":
        torch.manual_seed(0)
        host.seed(0)
    found: list[str] = []
    taken: list[Decisions] = []
    for seed in range(calls):
        args, kwargs = _arguments(inputs_for_seed(seed))
        wanted = _outcome(getattr(eager, method), args, kwargs)
        got = _outcome(host, args, kwargs)
        comparison = Comparison(*tolerance)
        comparison.compare(wanted, got, f"seed {seed}: ")
        comparison.compare(
            {name: find_attribute(eager, name) for name in host.state}, host.state, f"seed {seed}: state "
        )
        found += comparison.differences
        taken.append(tuple((decision.site, decision.taken) for decision in host.decisions))
    if len(set(taken)) < paths:
        found.append(f"{len(set(taken))} paths taken, {paths} wanted")
    return found, taken


def _arguments(given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(given, dict):
        return (), given
    return (given if isinstance(given, tuple) else (given,)), {}


def _outcome(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    args, kwargs = copy.deepcopy((args, kwargs))
    try:
        with torch.no_grad():
            return "returns", function(*args, **kwargs)
    except Exception as error:  # whatever the model raises is its answer
        return "raises", type(error).__name__, str(error)
