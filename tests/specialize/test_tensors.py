"""Tensor semantics and state: the program, and for some the host made from it, agree with eager on unseen inputs."""

from __future__ import annotations

import copy
import gc

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import dycl
from dycl.diagnostics import UnsupportedError
from dycl.ir.nodes import Branch, HostOp
from dycl.ir.parser import parse_ir
from dycl.ir.printer import print_ir
from dycl.ir.values import TensorType
from dycl.passes.specialize.machine import Machine
from dycl.passes.specialize.shapes import PathShapeEnv
from dycl.passes.specialize.specializer import specialize
from dycl.pipeline import check_model
from dycl.sampling import Sample
from dycl.settings import Settings
from dycl.verification import verify_model
from tests.hostgen.harness import make_subject
from tests.specialize import (
    array_programs,
    container_programs,
    given_programs,
    object_array_programs,
    precision_programs,
    question_programs,
    region_programs,
    runtime_programs,
    sequence_programs,
    shape_programs,
    size_programs,
    state_programs,
    table_programs,
    tensor_programs,
)
from tests.specialize.comparison import build, difference, find_mismatch, outcome
from tests.specialize.tensor_programs import Case

CASES = [
    *tensor_programs.CASES,
    *state_programs.CASES,
    *container_programs.CASES,
    *given_programs.CASES,
    *precision_programs.CASES,
    *question_programs.CASES,
    *size_programs.CASES,
    *region_programs.CASES,
    *shape_programs.CASES,
    *array_programs.CASES,
    *object_array_programs.CASES,
    *runtime_programs.CASES,
    *table_programs.CASES,
    *sequence_programs.CASES,
]
LARGE = [case for case in CASES if case.is_large]
END_TO_END = [
    pytest.param(case, marks=[pytest.mark.slow] if case.is_large else []) for case in CASES if case.is_end_to_end
]


@pytest.mark.slow
@pytest.mark.parametrize("case", size_programs.SLOW, ids=lambda case: case.name)
def test_program_that_takes_long_agrees_with_eager(case: Case) -> None:
    assert find_mismatch(case) is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_program_agrees_with_eager(case: Case) -> None:
    """Specialised on input 0 only; thirty calls in a row, state compared after each."""
    assert find_mismatch(case) is None


@pytest.mark.parametrize("case", END_TO_END, ids=lambda case: case.name)
def test_host_agrees_with_eager(case: Case) -> None:
    """Through passes, ONNX Runtime and the generated host."""
    model = build(case)
    eager = copy.deepcopy(model)
    host = dycl.compile(model, case.inputs(0), samples=4, sample_inputs=case.inputs)
    for seed in range(12):
        wanted, got = outcome(eager, case.inputs(seed)), outcome(host, case.inputs(seed))
        assert difference(_rounded(wanted), _rounded(got)) is None, f"seed {seed}"


@pytest.mark.parametrize("case", LARGE, ids=lambda case: case.name)
def test_host_over_torch_agrees_with_eager(case: Case) -> None:
    """Through passes and the generated host; torch runs the subgraphs."""
    model = build(case)
    checked = check_model(model, case.inputs(0), {}, Settings())
    report = verify_model(
        make_subject(checked, model), [Sample(f"seed {seed}", case.inputs(seed), {}) for seed in range(12)]
    )
    assert report.calls == 12


@pytest.mark.parametrize("case", question_programs.UNASKED, ids=lambda case: case.name)
def test_answers_that_make_no_difference_are_not_asked(case: Case) -> None:
    """Whether a size is 0, 1 or that of another tensor is nothing that such a program decides."""
    assert len(specialize(build(case), case.inputs(0)).program.blocks) == 1


@pytest.mark.parametrize(("model", "decisions"), [("PadsPiecesAlike", 3), ("StopsInPairs", 2)])
def test_a_join_keeps_how_tensors_are_related(model: str, decisions: int) -> None:
    """Masks made alike have as many true elements, extremes stay extremes, and what was decided is not asked again."""
    case = next(case for case in question_programs.CASES if case.name == model)
    blocks = specialize(build(case), case.inputs(0)).program.blocks
    assert sum(isinstance(block.end, Branch) for block in blocks) == decisions


def _rounded(value: object) -> object:
    """Tensors to three decimals: other kernels add in another order."""
    if isinstance(value, torch.Tensor):
        return (value.double() * 1000).round() / 1000 if value.is_floating_point() else value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "f":
        return np.round(value, 3)
    if isinstance(value, np.ndarray) and value.dtype == object:
        made = np.empty(value.shape, object)
        for index in np.ndindex(value.shape):
            made[index] = _rounded(value[index])
        return made
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, (list, tuple)):
        return type(value)(_rounded(item) for item in value)
    return {key: _rounded(item) for key, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("model", [tensor_programs.AliasesAcrossJoin, tensor_programs.WriteOneSideThenJoin])
def test_a_view_made_before_a_decision_sees_what_is_written_after_it(model: type[torch.nn.Module]) -> None:
    """The names of one memory lie in different subgraphs: each takes its view anew."""
    compiled = dycl.compile(model(), tensor_programs.rows(0), verify=False)
    paths = set()
    for seed in range(40):
        wanted = model()(*tensor_programs.rows(seed))
        for found, right in zip(compiled(*tensor_programs.rows(seed)), wanted, strict=True):
            torch.testing.assert_close(found, right)
        paths.add(tuple(decision.taken for decision in compiled.decisions))
    assert len(paths) >= 4


def test_lists_at_one_place_are_told_apart_by_their_structure() -> None:
    """A function makes lists of pairs for one caller, of triples for another: neither forgets how wide parts are."""
    case = next(case for case in sequence_programs.CASES if case.name == "PartsOfBatches")
    ops = [op for block in specialize(build(case), case.inputs(0)).program.blocks for op in block.ops]
    joined = [op.result.type for op in ops if isinstance(op, HostOp) and op.function == "cat"]
    assert {of.shape[1] for of in joined if isinstance(of, TensorType)} == {4, 10, 2}


def test_two_compiles_of_one_model_are_equal() -> None:
    """Nothing of the first compile is left on the model or in the process."""
    case = Case(tensor_programs.TwoCells)
    model = build(case)
    first = specialize(model, case.inputs(0))
    second = specialize(model, case.inputs(0))
    assert first.program == second.program


def test_a_compile_leaves_no_machine_behind() -> None:
    """A view holds its base where the collector does not see it, and a fake tensor leads to all of its compile."""
    for model in (tensor_programs.AliasesAcrossJoin, tensor_programs.TwoCells):
        specialize(model().eval(), tensor_programs.rows(0))
    FakeTensorMode.cache_clear()  # torch's own, of all compiles of the process
    gc.collect()
    assert not [found for found in gc.get_objects() if isinstance(found, Machine)]


def test_a_compile_leaves_nothing_behind_that_torch_remembers_of_it() -> None:
    """Torch's caches of questions about sizes hold the environments that were asked, one for each compile."""
    for _ in range(2):
        specialize(shape_programs.MaskRead().eval(), shape_programs.masks(0))
    gc.collect()
    kept = [found for found in gc.get_objects() if isinstance(found, PathShapeEnv)]
    assert not any(environment.fake_tensor_cache for environment in kept)


def test_slots_come_in_the_order_of_their_names() -> None:
    """The state of a host is listed the same way, whatever path wrote it first."""
    model = build(Case(state_programs.WritesInOppositeOrders))
    made = specialize(model, tensor_programs.rows(0))
    orders = [[slot.name for slot in entry.slots] for entry in made.program.entries]
    longest = max(orders, key=len)
    assert len(longest) == 3 and all(order == [name for name in longest if name in order] for order in orders)


class Thresholds(torch.nn.Module):
    """Attributes that decide: on the model and on a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = 0.5
        self.encoder = torch.nn.Module()
        self.encoder.threshold = 0.25
        self.rounds = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.rounds):
            x = x * 2
        if x.sum() > self.threshold:
            return x + 1
        if x.max().item() > self.encoder.threshold:
            return x - 1
        return x


def test_tunables_are_set_on_the_host() -> None:
    """A tunable is read at run time, whatever it was when the model was compiled."""
    model = Thresholds()
    names = ("threshold", "encoder.threshold", "rounds")
    host = dycl.compile(model, tensor_programs.rows(0), tunable=names, samples=4, sample_inputs=tensor_programs.rows)
    for threshold, inner, rounds in ((0.5, 0.25, 2), (-20.0, 0.25, 0), (50.0, 0.1, 5), (50.0, 1e9, 1)):
        host.host.threshold, host.host.rounds = threshold, rounds
        host.host.encoder_threshold = inner
        model.threshold, model.encoder.threshold, model.rounds = threshold, inner, rounds
        for seed in range(8):
            (x,) = tensor_programs.rows(seed)
            assert difference(_rounded(model(x)), _rounded(host(x))) is None


@pytest.mark.parametrize("case", table_programs.REFUSED, ids=lambda case: case.name)
def test_what_needs_an_ordinary_dict_or_set_is_refused(case: Case) -> None:
    with pytest.raises(UnsupportedError) as refused:
        find_mismatch(case)
    assert refused.value.code == "DY204"


def test_a_dict_of_run_time_keys_has_a_text() -> None:
    case = next(case for case in table_programs.CASES if case.name == "NamedByRun")
    program = specialize(build(case), case.inputs(0)).program
    text = print_ir(program)
    assert "dict[str, float] = host dict_of(" in text
    assert parse_ir(text) == program
