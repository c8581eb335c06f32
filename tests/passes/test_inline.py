"""Callers do what does not recurse: results, errors and decisions stay, dispatches become fewer."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from dycl.ir.dataflow import value_types
from dycl.ir.environment import Environment
from dycl.ir.executor import Executor
from dycl.ir.nodes import (
    Block,
    Branch,
    CallFunction,
    Dispatch,
    Edge,
    HostOp,
    Invoke,
    Op,
    Procedure,
    Reply,
    Return,
    TensorOp,
    edges,
)
from dycl.ir.numbering import renumber
from dycl.ir.parser import parse_ir
from dycl.ir.program import Program
from dycl.ir.substitution import substitute_operand
from dycl.ir.values import BlockId, Lit, ProcedureId, Ref, Value, ValueId, ValueType, refs
from dycl.ir.verifier import verify
from dycl.passes import functionalise, inline, peel, unfold
from dycl.passes.order import PASSES, run_passes
from dycl.passes.specialize.specializer import specialize
from models_zoo import treelstm
from tests.passes.conftest import BOOL, INT, TENSOR
from tests.passes.test_differential import Generate, check, is_part
from tests.specialize import object_programs
from tests.specialize.comparison import build, difference
from tests.specialize.programs import Case

GOLDEN = Path(__file__).parent.parent / "golden" / "inline"
PEEL = GOLDEN.parent / "peel"
BEFORE = PASSES[: [step.name for step in PASSES].index("inline")]
WITHOUT = tuple(step for step in PASSES if step.name not in ("inline", "peel"))


def environment() -> Environment:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        modules: dict[str, nn.Module] = {path: nn.Linear(4, 4) for path in ("stem", "head", "blocks.0")}
    weights = {f"{path}.{name}": p for path, module in modules.items() for name, p in module.named_parameters()}
    return Environment(weights=weights, modules=modules)


class Counting(Executor):
    """The reference executor, which counts the dispatches of all calls, and how deep procedures called each other."""

    def __init__(self, program: Program, environment: Environment) -> None:
        super().__init__(program, environment)
        self.dispatches = self.depth = self.deepest = 0

    def _run_dispatch(self, op: Dispatch, values: dict[Any, object]) -> None:
        self.dispatches += 1
        super()._run_dispatch(op, values)

    def _run_invoke(self, op: Any, values: dict[Any, object]) -> None:
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        super()._run_invoke(op, values)
        self.depth -= 1


def outcome(executor: Executor, inputs: list[object]) -> tuple[object, ...]:
    try:
        return ("returns", executor.run(inputs))
    except ValueError as error:
        return ("raises", str(error))


CASES = sorted([*GOLDEN.glob("*.txt"), *PEEL.glob("*.txt")])


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_results_and_errors_stay(path: Path) -> None:
    program, around = parse_ir(path.read_text().partition("\n---\n")[0]), environment()
    changed = peel.run(inline.run(program, around), around)
    verify(changed, after="inline and peel")
    done = [run_passes(program, around, steps, lambda name, result: None) for steps in (WITHOUT, PASSES)]
    x = torch.tensor([[0.5, -1.0, 2.0, 0.25]])
    for n in range(-1, 6):
        wanted = outcome(Executor(program, around), [n, x])
        for one in (changed, *done):
            assert difference(wanted, outcome(Executor(one, around), [n, x])) is None, n
    counted = [Counting(one, around) for one in done]
    for n in range(6):
        for executor in counted:
            outcome(executor, [n, x])
    assert counted[1].dispatches <= counted[0].dispatches
    assert counted[1].deepest <= counted[0].deepest


@pytest.mark.parametrize("case", object_programs.CASES, ids=lambda case: case.name)
def test_decisions_stay(case: Case) -> None:
    """Of a program that recurses over objects: those of eager, in their order; which way a reply took, nobody asks."""
    model = build(case)
    made = specialize(model, case.inputs(0), examples=[(case.inputs(seed), {}) for seed in range(1, 6)])
    program = run_passes(made.program, made.environment, BEFORE, lambda name, result: None)
    changed = peel.run(inline.run(program, made.environment), made.environment)
    verify(changed, after="inline and peel")
    first, second = Executor(program, made.environment), Executor(changed, made.environment)
    for seed in range(20):
        results = [executor.call(*copy.deepcopy(case.inputs(seed))) for executor in (first, second)]
        assert difference(*results) is None
        before, after = (
            [(executor.program.block(block).end.loc, side) for block, side in executor.decisions]
            for executor in (first, second)
        )
        assert is_part(after, before)
        if not program.procedures:
            assert changed is program


def compiled(model: nn.Module, args: tuple[Any, ...], more: list[tuple[Any, ...]]) -> list[Counting]:
    """Executors of the model without the pass and with it."""
    made = specialize(model, args, examples=[(given, {}) for given in more])
    return [
        Counting(run_passes(made.program, made.environment, steps, lambda name, result: None), made.environment)
        for steps in (WITHOUT, PASSES)
    ]


def test_a_tree_takes_fewer_dispatches() -> None:
    model = treelstm.build()
    without, with_it = compiled(model, treelstm.example_inputs(), [treelstm.sample_inputs(s) for s in range(1, 4)])
    for count in range(1, 5):
        tree = treelstm.Tree(1, [treelstm.Tree(word) for word in range(count)])
        for executor in (without, with_it):
            executor.dispatches = 0
            assert difference(model(tree), executor.call(tree)) is None
        # Each leaf, what is added of it, the embedding of the root; and the classifier. The first and the third are one
        # with the second.
        assert (without.dispatches, with_it.dispatches) == (2 * count + 2, count + 1)


class Halving(nn.Module):
    """The data decides how deep it goes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def halve(self, x: torch.Tensor) -> torch.Tensor:
        if x.abs().max() < 0.25:
            return torch.tanh(self.second(x))
        return self.halve(torch.sin(self.first(x)) * 0.5) + x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.halve(x)


def test_what_the_data_decides_is_done_by_the_caller() -> None:
    torch.manual_seed(0)
    model = Halving().eval()
    samples = [(torch.full((1, 4), 2.0**n),) for n in range(-3, 5)]
    without, with_it = compiled(model, samples[-1], samples)
    with torch.no_grad():
        for sample in samples:
            wanted = model(*sample)
            for executor in (without, with_it):
                assert difference(wanted, executor.call(*sample)) is None
    assert with_it.dispatches < without.dispatches
    assert with_it.deepest < without.deepest


def test_a_deep_tree_needs_no_deeper_calls() -> None:
    model = treelstm.build()
    executors = compiled(model, treelstm.example_inputs(), [treelstm.sample_inputs(s) for s in range(1, 4)])
    tree = treelstm.Tree(0)
    for word in range(40):
        tree = treelstm.Tree(word, [tree])
    results = [executor.call(tree) for executor in executors]
    assert difference(*results) is None
    assert executors[1].deepest <= executors[0].deepest


def test_reasons_are_told() -> None:
    texts = {}
    for path in GOLDEN.glob("*.txt"):
        notes = inline.explain(parse_ir(path.read_text().partition("\n---\n")[0]), environment())
        texts[path.stem] = [note.text for note in notes]
    stays = "what does not recurse stays in it"
    assert texts["no_work"] == [f"count: {stays}: it has no tensor work"]
    assert texts["no_base_case"] == [f"walk: {stays}: every way through it does"]
    assert texts["written"] == [f"walk: {stays}: it writes memory in place"]
    assert texts["base_case"] == [
        "stem, exp: done by the callers of walk where it does not recurse (2 calls replaced, 6 operations, 0 KiB of "
        "weights copied)"
    ]


def test_why_a_round_is_taken_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    program, around = parse_ir((PEEL / "first_child.txt").read_text().partition("\n---\n")[0]), environment()
    (note,) = peel.explain(program, around)
    size = "2 operations, 0 KiB of weights"
    assert note.done and note.text == f"stem: the first round of the loop behind it is taken out of it ({size} copied)"
    monkeypatch.setattr(peel, "MOST_OPERATIONS", 1)
    assert peel.run(program, around) == renumber(program)
    (note,) = peel.explain(program, around)
    assert not note.done and note.text.endswith(f"{size} would be copied")


def text_of(case: str) -> str:
    return (GOLDEN / f"{case}.txt").read_text().partition("\n---\n")[0]


def is_untouched(text: str) -> str:
    """What is told of a program that stays as it is."""
    program = renumber(parse_ir(text))
    verify(program, after="the test")
    assert inline.run(program, environment()) == program
    (note,) = inline.explain(program, environment())
    assert not note.done
    return note.text


def test_what_is_large_stays() -> None:
    work = "\n".join(f"  %{n}: float32[1, 4] = module stem(%{n - 1})" for n in range(100, 170))
    text = text_of("base_case")
    text = text.replace("call torch.exp(%6)", f"call torch.exp(%6)\n  %99: float32[1, 4] = call torch.exp(%11)\n{work}")
    text = text.replace("reply (%11)", "reply (%169)")
    assert "73 operations" in is_untouched(text)


def test_a_call_that_cannot_be_replaced_leaves_all_as_it_was() -> None:
    """Otherwise every call would be two. Here a block gets values of two ways, one of which is not there."""
    text = text_of("ways").replace("host eq(%2, 0)", "host gt(%4, 0)").replace("host eq(%10, 0)", "host ne(%10, 1)")
    assert "a call cannot be replaced" in is_untouched(text)


def test_a_call_of_the_method_may_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of the procedure does not recurse itself."""
    monkeypatch.setattr(unfold, "MOST_COPIED", 4)
    program, around = renumber(parse_ir(text_of("base_case"))), environment()
    changed = inline.run(program, around)
    assert [part.is_rest for part in changed.procedures] == [False, True]
    (note,) = inline.explain(program, around)
    assert "1 calls replaced, 1 stay" in note.text
    x = torch.ones(1, 4)
    for n in range(4):
        before, after = Counting(program, around), Counting(changed, around)
        assert difference(outcome(before, [n, x]), outcome(after, [n, x])) is None
        assert after.deepest <= before.deepest + 1


# ---------------------------------------------------------------- random procedures


def recursive(program: Program, rng: random.Random) -> Program | None:
    """A random program as a procedure of its inputs and a depth, which where it would return may call itself first.

    None for one that writes memory in place: that is left alone, and what is written could not be handed on.
    """
    if any(isinstance(op, TensorOp) and op.mutates for block in program.blocks for op in block.ops):
        return None
    (entry,) = program.entries
    first = program.block(entry.block)
    assert not any(edge.target == first.id for block in program.blocks for edge in edges(block.end))
    types = value_types(program)
    number = max(types) + 1
    depth = Value(ValueId(number), INT, "depth")
    blocks = [replace(first, params=(*first.params, depth)) if block is first else block for block in program.blocks]

    def value(of: ValueType) -> Value:
        nonlocal number
        number += 1
        return Value(ValueId(number), of)

    def call(x: Value, less: int, after: Value) -> tuple[Op, ...]:
        """A call with less depth, and something done with what it replies."""
        left, replied = value(INT), value(TENSOR)
        rest = tuple(Ref(param.id) for param in first.params[1:])
        invoke = Invoke(procedure=ProcedureId(0), args=(Ref(x.id), *rest, Ref(left.id)), results=(replied,), loc=loc)
        done = TensorOp(
            target=CallFunction(name="torch.Tensor.add"), args=(Ref(replied.id), Ref(x.id)), results=(after,), loc=loc
        )
        return (HostOp(function="sub", args=(Ref(depth.id), Lit(less)), result=left, loc=loc), invoke, done)

    for block in list(blocks):
        if not isinstance(block.end, Return):
            continue
        loc = block.end.loc
        tensors = [ref for ref in refs(block.end.value) if types[ref] == TENSOR]
        found = Value(tensors[0], TENSOR) if tensors else first.params[0]
        reply = Reply(values=(Ref(found.id),), loc=loc)
        if rng.random() < 0.4:
            blocks[block.id] = replace(block, end=reply)
            continue
        deeper, again, last = value(BOOL), BlockId(len(blocks)), BlockId(len(blocks) + 1)
        test = HostOp(function="gt", args=(Ref(depth.id), Lit(0)), result=deeper, loc=loc)
        branch = Branch(cond=deeper.id, if_true=Edge(again), if_false=Edge(last), loc=loc)
        blocks[block.id] = replace(block, ops=(*block.ops, test), end=branch)
        one, two = value(TENSOR), value(TENSOR)
        ops = call(found, 1, one)
        if rng.random() < 0.5:
            ops += call(one, 2, two)
        values = (Ref((two if len(ops) > 3 else one).id),)
        blocks.append(Block(id=again, ops=ops, end=Reply(values=values, loc=loc), loc=loc))
        blocks.append(Block(id=last, end=reply, loc=loc))
    given = tuple(replace(param, id=value(param.type).id) for param in first.params)
    names = {old.id: Ref(new.id) for old, new in zip(first.params, given, strict=True)}
    result = value(TENSOR)
    args = (*(Ref(param.id) for param in given), Lit(3))
    start = Block(
        id=BlockId(len(blocks)),
        params=given,
        ops=(Invoke(procedure=ProcedureId(0), args=args, results=(result,)),),
        end=Return(value=Ref(result.id), state=tuple(Ref(param.id) for param in given[2:])),
    )
    slots = tuple(replace(slot, template=substitute_operand(slot.template, names)) for slot in entry.slots)
    program = replace(
        program,
        entries=(replace(entry, block=start.id, slots=slots),),
        blocks=(*blocks, start),
        procedures=(Procedure(id=ProcedureId(0), name="again", block=first.id),),
    )
    verify(program, after="the generator")
    return renumber(program)


def check_random_procedure(program: Program, environment: Environment) -> None:
    changed = peel.run(inline.run(program, environment), environment)
    check(program, changed, environment, decides_less=True)
    done = run_passes(program, environment, PASSES, lambda name, result: None)
    check(program, done, environment, decides_less=True)


def random_procedure(generate: Generate, environment: Environment, seed: int) -> Program:
    program = recursive(functionalise.run(generate(seed), environment), random.Random(seed))
    assume(program is not None)
    assert program is not None
    return program


SOME = settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@SOME
@given(seed=st.integers(0, 2**32))
def test_random_procedures(generate: Generate, random_environment: Environment, seed: int) -> None:
    check_random_procedure(random_procedure(generate, random_environment, seed), random_environment)


@pytest.mark.slow
@settings(SOME, max_examples=200)
@given(seed=st.integers(0, 2**32))
def test_many_random_procedures(generate: Generate, random_environment: Environment, seed: int) -> None:
    check_random_procedure(random_procedure(generate, random_environment, seed), random_environment)


def test_many_random_procedures_are_parted(generate: Generate, random_environment: Environment) -> None:
    notes = []
    for seed in range(100):
        program = recursive(functionalise.run(generate(seed), random_environment), random.Random(seed))
        notes += inline.explain(program, random_environment) if program is not None else ()
    assert sum(note.done for note in notes) > 10, [note.text for note in notes]
