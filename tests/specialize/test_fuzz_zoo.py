"""Needless but legal forks at random places never change what a zoo model returns."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch.utils import _pytree as pytree

from dycl.ir.executor import Executor
from dycl.ir.verifier import verify
from dycl.passes.specialize.specializer import specialize

ZOO = Path(__file__).parents[2] / "models_zoo"
ROWS = ["skipnet", "shallow_deep", "branchynet", "deebert", "pabee", "caption", "blockdrop"]


def load(name):
    """A zoo file, loaded by its path as the compiler loads it."""
    spec = importlib.util.spec_from_file_location(f"fuzzed_{name}", ZOO / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ROWS)
def test_needless_forks_change_nothing(name):
    zoo = load(name)
    model = zoo.build()
    plain = specialize(model, zoo.example_inputs())
    grew = False
    for seed in range(2):
        made = specialize(model, zoo.example_inputs(), fuzz=seed)
        verify(made.program, after="specialize")
        grew |= len(made.program.blocks) > len(plain.program.blocks)
        executor = Executor(made.program, made.environment)
        eager = copy.deepcopy(model)
        for sample in range(15):
            inputs = zoo.sample_inputs(sample)
            with torch.no_grad():
                expected = eager(*inputs)
            got = executor.call(*inputs)
            assert pytree.tree_structure(got) == pytree.tree_structure(expected)
            for left, right in zip(pytree.tree_leaves(got), pytree.tree_leaves(expected), strict=True):
                if isinstance(right, str):
                    assert left == right
                else:
                    torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)
    assert grew, "no needless fork was inserted"
