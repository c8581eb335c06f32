"""The child-sum Tree-LSTM compiled: its input is a Python tree, recursion over it a procedure of the host."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import dycl
from dycl.comparison import Comparison
from dycl.ir.executor import Executor
from models_zoo import treelstm
from tests.zoo.compiled import compile_row

CALLS = 200


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    place = tmp_path_factory.mktemp("treelstm") / "treelstm"
    loaded, built = compile_row("treelstm", place)
    return loaded, built, place


def test_host_and_reference_are_right_on_trees_of_any_shape(row: tuple[Any, Any, Path]) -> None:
    loaded, built, place = row
    host = dycl.load(place)
    executor = Executor(built.checked.program, built.checked.environment)
    comparison = Comparison()
    paths = set()
    for seed in range(CALLS):
        (tree,) = loaded.sample_inputs(seed)
        with torch.no_grad():
            expected, reference = loaded.model(tree), executor.call(copy.deepcopy(tree))
        comparison.compare(expected, reference, f"the reference, seed {seed}, ")
        comparison.compare(expected, host(tree), f"the host, seed {seed}, ")
        found = [(decision.site, decision.taken) for decision in host.decisions]
        assert found == [(int(site), taken) for site, taken in executor.decisions]
        paths.add(tuple(found))
    assert comparison.differences == []
    assert len(paths) >= 50


def test_every_edge_is_exercised(row: tuple[Any, Any, Path]) -> None:
    report = row[1].report.verification
    assert report.unreached == () and report.forced == () and report.ties == ()


def test_a_tree_that_fits_no_schema_is_named(row: tuple[Any, Any, Path]) -> None:
    host = dycl.load(row[2])
    with pytest.raises(TypeError, match=r"tree\.children\[0\]\.word: expected int, got 'seven'"):
        host(treelstm.Tree(3, [treelstm.Tree("seven")]))
    with pytest.raises(TypeError, match="tree: expected a Tree, got 3"):
        host(3)
