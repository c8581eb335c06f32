"""SkipNet compiled: 38 layers and 2^17 paths from subgraphs, structures and a host that grow with the layers."""

import functools
import sys

import pytest

from dycl.ir.nodes import Dispatch, edges
from dycl.loading import load_model
from dycl.pipeline import Checked, check_model
from dycl.settings import Settings
from tests.zoo.compiled import ZOO, CompiledRow, Row


class TestSkipNet(CompiledRow):
    name = "skipnet"
    paths = 50

    def test_each_structure_is_exported_once(self, row: Row) -> None:
        report = row.built.report
        assert report.structures_exported == report.program.structures <= 13

    def test_weights_are_stored_once(self, row: Row) -> None:
        state = row.loaded.model.state_dict().values()
        size = sum(tensor.numel() * tensor.element_size() for tensor in state)
        assert (row.directory / "weights.bin").stat().st_size <= 1.02 * size

    def test_the_host_is_short(self, row: Row) -> None:
        assert len((row.directory / "host.py").read_text().splitlines()) < 1500


DEPTHS = {12: 28, 27: 58, 54: 112}  # by the number of gates


@functools.cache
def _checked(gates: int) -> Checked:
    loaded = load_model(str(ZOO / "skipnet.py"))
    model = sys.modules[type(loaded.model).__module__].build(depth=DEPTHS[gates])
    assert len(model.gates) == gates
    return check_model(model, loaded.args, loaded.kwargs, Settings())


@pytest.mark.slow
@pytest.mark.parametrize("what", ["blocks", "sites", "subgraphs"])
def test_the_program_grows_with_the_layers(what: str) -> None:
    small, middle, large = (getattr(_checked(gates).report, what) for gates in (12, 27, 54))
    assert (large - middle) / (54 - 27) == (middle - small) / (27 - 12) > 0


BY_DEPTH = pytest.mark.parametrize("gates", [12, 27, pytest.param(54, marks=pytest.mark.slow)])


@BY_DEPTH
def test_structures_do_not_grow(gates: int) -> None:
    assert _checked(gates).report.structures == 13


@BY_DEPTH
def test_a_gate_is_one_dispatch_with_the_block_before_it(gates: int) -> None:
    """Each way through the network has one dispatch for each gate, and one before the first."""
    checked = _checked(gates)
    longest: dict[int, int] = {}
    for block in reversed(checked.program.blocks):  # in reverse post order: what comes later is done
        after = max((longest[edge.target] for edge in edges(block.end)), default=0)
        longest[block.id] = after + sum(isinstance(op, Dispatch) for op in block.ops)
    assert longest[checked.program.entries[0].block] == gates + 1
