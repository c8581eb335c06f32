"""Runs a model and the program made from it side by side: the same results, exceptions and state, call after call."""

from __future__ import annotations

import collections
import copy
import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import nn

from dycl.ir.executor import Executor
from dycl.ir.structures import is_instance
from dycl.ir.verifier import verify
from dycl.passes.specialize.specializer import Specialization, specialize
from dycl.trials import find_attribute
from tests.specialize.programs import Case

SEEDS = range(30)


def build(case: Case) -> nn.Module:
    """The model of a case, with the same weights each time."""
    torch.manual_seed(0)
    return case.build().eval()


def compile_case(case: Case, fuzz: int | None = None) -> tuple[nn.Module, Specialization]:
    """The model and its program, made from one example; the model is left as it was."""
    model = build(case)
    made = specialize(model, case.inputs(0), fuzz=fuzz)
    verify(made.program, after="specialize")
    fresh = build(case)
    assert difference(plain_state(fresh), plain_state(model)) is None, "specialize changed the model"
    return model, made


def find_mismatch(case: Case, fuzz: int | None = None) -> str | None:
    """What differs between the model and its program over a sequence of calls; None if nothing does."""
    model, made = compile_case(case, fuzz)
    eager, executor = copy.deepcopy(model), Executor(made.program, made.environment)
    for seed in SEEDS:
        wanted, got = outcome(eager, case.inputs(seed)), outcome(executor.call, case.inputs(seed))
        if (found := difference(wanted, got)) is not None:
            return f"seed {seed}: {found}\n  eager:   {wanted}\n  program: {got}"
        for name, value in executor.state.items():
            if (found := difference(_attribute(eager, name), value)) is not None:
                return f"seed {seed}: state {name}: {found}"
    return None


def outcome(function: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a call returns, or raises, and what its arguments are then: in a form that can be compared."""
    given = copy.deepcopy(args)
    try:
        with torch.no_grad():
            return "returns", function(*given), given
    except Exception as error:  # whatever the model raises is its answer
        return "raises", type(error), error.args, given


def _attribute(model: nn.Module, path: str) -> Any:
    """What the model holds at a path; a deque as the list that a state shows."""
    return _shown(find_attribute(model, path))


def _shown(value: Any) -> Any:
    if isinstance(value, (list, collections.deque)):
        return [_shown(item) for item in value]
    return {key: _shown(item) for key, item in value.items()} if isinstance(value, dict) else value


def plain_state(model: nn.Module) -> dict[str, Any]:
    """What the model keeps on itself: weights, buffers and plain attributes by their paths."""
    state: dict[str, Any] = dict(model.state_dict())
    for path, module in model.named_modules():
        state |= {f"{path}.{n}": v for n, v in vars(module).items() if not n.startswith("_") and _is_plain(v)}
    return state


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple, dict)):
        return all(_is_plain(item) for item in (value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, (bool, int, float, str, torch.Tensor))


def difference(wanted: Any, got: Any) -> str | None:
    """Where two values differ, in type or content; None if they are the same."""
    if isinstance(wanted, torch.Size) and type(got) is tuple:
        wanted = tuple(wanted)
    if isinstance(wanted, nn.Parameter):
        wanted = wanted.data
    if isinstance(wanted, (torch.dtype, torch.device)):
        wanted = str(wanted)  # as a host without torch has it
    if type(wanted) is not type(got):
        return f"{type(wanted).__name__} is wanted, {type(got).__name__} is there"
    if isinstance(wanted, torch.Tensor):
        same = wanted.dtype == got.dtype and wanted.shape == got.shape
        same = same and torch.allclose(wanted, got, rtol=1e-6, atol=1e-7, equal_nan=True)
        return None if same else "tensors differ"
    if isinstance(wanted, (np.ndarray, np.generic)):
        same = wanted.dtype == got.dtype and wanted.shape == got.shape
        if same and wanted.dtype == object:
            return difference([wanted[i] for i in np.ndindex(wanted.shape)], [got[i] for i in np.ndindex(got.shape)])
        same = same and np.allclose(wanted, got, rtol=1e-6, atol=1e-7, equal_nan=True)
        return None if same else "arrays differ"
    if isinstance(wanted, float):
        same_number = wanted == got and math.copysign(1, wanted) == math.copysign(1, got)
        same = same_number or (math.isnan(wanted) and math.isnan(got))
        return None if same else f"{wanted!r} is wanted, {got!r} is there"
    if dataclasses.is_dataclass(wanted) and not isinstance(wanted, type):
        return difference(vars(wanted), vars(got))
    if is_instance(wanted) and hasattr(wanted, "__dict__"):
        return difference(vars(wanted), vars(got))
    if isinstance(wanted, dict):
        if list(wanted) != list(got):
            return f"the keys {list(wanted)} are wanted, {list(got)} are there"
        return difference(list(wanted.values()), list(got.values()))
    if isinstance(wanted, (list, tuple)):
        if len(wanted) != len(got):
            return f"{len(wanted)} items are wanted, {len(got)} are there"
        found = (difference(a, b) for a, b in zip(wanted, got, strict=True))
        return next((one for one in found if one is not None), None)
    return None if wanted == got else f"{wanted!r} is wanted, {got!r} is there"
