"""The reference executor on programs written by hand."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from dycl.diagnostics import InternalError
from dycl.ir.environment import Environment
from dycl.ir.executor import Executor
from dycl.ir.numbering import renumber
from dycl.ir.parser import parse_ir
from dycl.ir.values import BlockId

HEAD = "program P method forward\n"


def executor(text: str, **environment: Any) -> Executor:
    """An executor of a program without its first line."""
    return Executor(parse_ir(HEAD + text), Environment(**environment))


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


GATE = """\
file f0 = '/src/gate.py'
param x: positional_or_keyword = input 0: float32[2]
entry b0
b0(%0 x: float32[2]):
  %1: float32[] = call torch.sum(%0)
  %2: float = host item(%1)  @f0:7:3-7:9
  %3: bool = host gt(%2, 0.5)
  branch %3 ? b1 : b2(%0)
b1:
  %4: float32[2] = module double(%0)
  jump b2(%4)
b2(%5: float32[2]):
  return (%5, %2)
"""


class Double(nn.Module):
    """Twice its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def gate(**options: Any) -> Executor:
    return Executor(parse_ir(HEAD + GATE), Environment(modules={"double": Double()}), **options)


@pytest.mark.parametrize(("x", "taken"), [((1.0, 2.0), True), ((-1.0, 1.0), False)])
def test_a_branch_takes_the_side_of_its_condition(x: tuple[float, float], taken: bool) -> None:
    run = gate()
    y, total = run.call(tensor(*x))
    assert torch.equal(y, tensor(*x) * (2 if taken else 1))
    assert (total, run.decisions) == (sum(x), [(0, taken)])
    assert [(loc.line, value) for loc, value in run.observations] == [(7, sum(x))]


def test_a_decision_can_be_forced() -> None:
    asked = []

    def decide(block: BlockId, natural: bool) -> bool:
        asked.append((block, natural))
        return not natural

    run = gate(decide=decide)
    y, _ = run.call(tensor(1, 2))
    assert torch.equal(y, tensor(1, 2))
    assert (asked, run.decisions) == ([(0, True)], [(0, False)])


def test_what_is_recorded_is_of_the_last_call() -> None:
    run = gate()
    run.call(tensor(1, 2))
    run.call(tensor(-1, 0))
    assert (run.decisions, len(run.observations)) == ([(0, False)], 1)


def test_a_loop_carries_its_block_arguments() -> None:
    run = executor(
        """\
param x: positional_or_keyword = input 0: float32[2]
param n: positional_or_keyword = input 1: int
entry b0
b0(%0: float32[2], %1: int):
  jump b1(%0, 0)
b1(%2: float32[2], %3: int):
  %4: bool = host lt(%3, %1)
  branch %4 ? b2 : b3
b2:
  %5: float32[2] = call torch.mul(%2, $w)
  %6: int = host add(%3, 1)
  jump b1(%5, %6)
b3:
  return %2
""",
        weights={"w": tensor(2, 3)},
    )
    assert torch.equal(run.call(tensor(1, 1), n=3), tensor(8, 27))
    assert run.decisions == [(1, True)] * 3 + [(1, False)]
    assert torch.equal(run.call(tensor(1, 1), 0), tensor(1, 1))


def test_a_write_is_seen_by_the_aliases() -> None:
    run = executor("""\
param x: positional_or_keyword = input 0: float32[2, 2]
entry b0
b0(%0: float32[2, 2]):
  %1: float32[2, 2] = call torch.clone(%0)
  %2: float32[2] = call torch.select(%1, 0, 1)
  jump b1(%2)
b1(%3: float32[2]):
  %4: float32[2] = call torch.Tensor.add_(%3, 10) mutates %3 -> %5: float32[2], %1 -> %6: float32[2, 2]
  return (%6, %5)
""")
    x = torch.zeros(2, 2)
    whole, row = run.call(x)
    assert torch.equal(whole, torch.tensor([[0.0, 0.0], [10.0, 10.0]]))
    assert row.data_ptr() == whole[1].data_ptr()
    assert torch.equal(x, torch.zeros(2, 2))


COUNTER = """\
param x: positional_or_keyword = input 0: float32[2]
initial ($memory, 0)
entry b0 state 2
  slot memory = %1
  slot stats = {'calls': %2}
entry b3 state 1
  slot memory = %10
b0(%0 x: float32[2], %1 memory: float32[2], %2 calls: int):
  %3: float32[2] = call torch.Tensor.add_(%1, %0) mutates %1 -> %4: float32[2]
  %5: int = host add(%2, 1)
  %6: bool = host ge(%5, 2)
  branch %6 ? b1 : b2
b1:
  raise builtins:ValueError('full', %5) resume 1 state (%4)
b2:
  return %5 resume 0 state (%4, %5)
b3(%9 x: float32[2], %10 memory: float32[2]):
  return %10 resume 0 state (%10, 0)
"""


def test_state_lives_on_over_calls_and_leaves_the_weight_alone() -> None:
    memory = tensor(1, 1)
    run = executor(COUNTER, weights={"memory": memory})
    assert torch.equal(run.state["memory"], memory)
    assert run.call(tensor(1, 2)) == 1
    assert torch.equal(run.state["memory"], tensor(2, 3))
    assert run.state["stats"] == {"calls": 1}
    with pytest.raises(ValueError, match="full") as caught:
        run.call(tensor(1, 2))
    assert caught.value.args == ("full", 2)
    assert list(run.state) == ["memory"]
    assert torch.equal(run.call(tensor(0, 0)), tensor(3, 5))  # the second entry
    assert run.state["stats"] == {"calls": 0}
    assert torch.equal(memory, tensor(1, 1))
    run.reset()
    assert torch.equal(run.state["memory"], tensor(1, 1))


def test_state_that_starts_as_one_weight_twice_stays_shared() -> None:
    run = executor(
        """\
initial ($w, $w)
entry b0 state 2
b0(%0: float32[2], %1: float32[2]):
  %2: float32[2] = call torch.Tensor.add_(%0, 1) mutates %0 -> %3: float32[2], %1 -> %4: float32[2]
  return %4 resume 0 state (%3, %4)
""",
        weights={"w": tensor(0, 0)},
    )
    run.call()
    assert torch.equal(run.call(), tensor(2, 2))


def test_a_weight_inside_a_list_of_the_state_is_left_alone() -> None:
    run = executor(
        """\
initial ([$w, $w])
entry b0 state 1
b0(%0: list[float32[2]]):
  %1: float32[2] = host list_get(%0, 0)
  %2: float32[2] = call torch.Tensor.add_(%1, 1) mutates %1 -> %3: float32[2]
  %4: float32[2] = host list_get(%0, 1)
  return %4 resume 0 state (%0)
""",
        weights={"w": tensor(0, 0)},
    )
    run.call()
    assert torch.equal(run.call(), tensor(2, 2))
    assert torch.equal(run.environment.weights["w"], tensor(0, 0))


def test_a_run_that_raises_may_not_write_a_weight_either() -> None:
    run = executor(
        "entry b0\nb0:\n  %0: float32[2] = call torch.Tensor.add_($w, 1)\n  raise builtins:ValueError('x')\n",
        weights={"w": tensor(0, 0)},
    )
    with pytest.raises(InternalError, match=r"the run has written the weights \['w'\]"):
        run.call()


def test_no_run_writes_a_weight() -> None:
    declared = executor(
        """\
entry b0
b0:
  jump b1($w)
b1(%0: float32[2]):
  %1: float32[2] = call torch.Tensor.add_(%0, 1) mutates %0 -> %2: float32[2]
  return %2
""",
        weights={"w": tensor(0, 0)},
    )
    with pytest.raises(InternalError, match="%0 is written, and it is a weight"):
        declared.call()
    assert torch.equal(declared.environment.weights["w"], tensor(0, 0))
    silent = executor(
        "entry b0\nb0:\n  %0: float32[2] = call torch.Tensor.add_($w, 1)\n  return %0\n", weights={"w": tensor(0, 0)}
    )
    with pytest.raises(InternalError, match=r"the run has written the weights \['w'\]"):
        silent.call()


@dataclasses.dataclass(frozen=True)
class Output:
    """A record whose `__post_init__` must not run a second time."""

    logits: torch.Tensor
    steps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", self.steps + 1)


Pair = collections.namedtuple("Pair", "first second")


class Fields(dict):  # type: ignore[type-arg]
    """A dict with a class of its own."""


def test_records_and_containers_are_built() -> None:
    run = executor(
        """\
param x: positional_or_keyword = input 0: float32[2]
entry b0
b0(%0: float32[2]):
  return [dataclass m:Output(logits=%0, steps=3), namedtuple m:Pair(first=1, second=(%0,)), mapping m:Fields(a=2), \
{'k': slice(1, None, ...)}, set(1, 2), size(3, 4), torch.float16, $w]
""",
        classes={"m:Output": Output, "m:Pair": Pair, "m:Fields": Fields},
        weights={"w": tensor(7)},
    )
    x = tensor(1, 2)
    record, pair, fields, mapping, numbers, size, dtype, weight = run.call(x)
    assert type(record) is Output and record.logits is x and record.steps == 3
    assert pair == Pair(1, (x,)) and type(pair) is Pair
    assert type(fields) is Fields and fields == {"a": 2}
    assert mapping == {"k": slice(1, None, ...)}
    assert (numbers, size, dtype) == ({1, 2}, torch.Size([3, 4]), torch.float16)
    assert type(size) is torch.Size and torch.equal(weight, tensor(7))


def test_an_exception_of_the_model_has_its_class() -> None:
    class HaltError(RuntimeError):
        pass

    text = "entry b0\nb0:\n  raise m:HaltError(3)\n"
    with pytest.raises(HaltError, match="3"):
        executor(text, classes={"m:HaltError": HaltError}).call()
    with pytest.raises(InternalError, match="no class 'm:HaltError'"):
        executor(text).call()


DISPATCH = """\
param x: positional_or_keyword = input 0: float32[2]
entry b0
subgraph s0 step (%0: float32[2], %1: int):
  %2: float32[2] = call torch.Tensor.add_(%0, %1) mutates %0 -> %3: float32[2]
  %4: float32[2] = call torch.mul(%3, $w)
  results (%4, %3)
b0(%0: float32[2]):
  %1: float32[2], %2: float32[2] = dispatch s0(%0, 1)
  return (%0, %1, %2)
"""


def test_a_subgraph_runs_and_never_writes_its_arguments() -> None:
    run = executor(DISPATCH, weights={"w": tensor(2, 3)})
    x = tensor(1, 1)
    before, product, total = run.call(x)
    assert before is x and torch.equal(x, tensor(1, 1))
    assert torch.equal(product, tensor(4, 6)) and torch.equal(total, tensor(2, 2))


def test_results_are_the_tensor_leaves_of_what_a_call_returns() -> None:
    run = executor("""\
param x: positional_or_keyword = input 0: float32[3]
entry b0
b0(%0: float32[3]):
  %1 top: float32[2], %2 where: int64[2] = call torch.topk(%0, 2, sorted=True)
  %3: float32[3] = call torch.Tensor.real.__get__(%0)
  %4: list[float32[2]] = host list_append([], %1)
  %5: int = host list_len(%4)
  return (%1, %2, %3, %5)
""")
    values, indices, real, length = run.call(tensor(1, 3, 2))
    assert torch.equal(values, tensor(3, 2)) and indices.tolist() == [1, 2]
    assert torch.equal(real, tensor(1, 3, 2)) and length == 1


def test_a_failure_names_the_operation() -> None:
    run = executor(
        """\
file f0 = '/src/model.py'
param x: positional_only = input 0: float32[2]
entry b0
b0(%0: float32[2]):
  %1: float32[2] = call torch.add(%0, $w)  @f0:7:3-7:9
  return %1
""",
        weights={"w": tensor(1, 2, 3)},
    )
    with pytest.raises(RuntimeError, match="size of tensor a") as caught:
        run.call(tensor(1, 2))
    assert caught.value.__notes__ == ["model.py:7: %1: float32[2] = call torch.add(%0, $w)"]


def test_reads_of_one_element_are_observed() -> None:
    run = executor("""\
param x: positional_only = input 0: float32[2, 2]
entry b0
b0(%0: float32[2, 2]):
  %1: float = host item_at(%0, 2)
  return %1
""")
    assert run.call(torch.tensor([[1.0, 2.0], [3.0, 4.0]])) == 3.0
    assert [value for _, value in run.observations] == [3.0]


def test_renumbering_changes_no_result() -> None:
    plain = parse_ir(HEAD + COUNTER)
    canonical = renumber(plain)
    assert canonical != plain
    logs = []
    for program in (plain, canonical):
        run = Executor(program, Environment(weights={"memory": tensor(1, 1)}))
        log: list[object] = [run.call(tensor(1, 2))]
        with pytest.raises(ValueError, match="full"):
            run.call(tensor(1, 2))
        log += [run.call(tensor(0, 0)).tolist(), [side for _, side in run.decisions]]
        logs.append(log)
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%1: float64[2] = call torch.relu(%0)", r"%1: expected float64\[2\], got float32\[2\]"),
        ("%1 y: float32[3] = call torch.relu(%0)", r"%1 y: expected float32\[3\], got float32\[2\]"),
        ("%1: float32[2], %2: float32[2] = call torch.relu(%0)", "2 results are declared, there are 1"),
        ("%1: float = host add(1, 1)", "%1: expected float, got int 2"),
        ("%1: float32[2] = module nowhere(%0)", "the environment has no module 'nowhere'"),
        ("%1: float32[2] = call torch.relu($nothing)", "the environment has no weight 'nothing'"),
    ],
)
def test_a_type_that_is_not_kept_is_our_bug(line: str, message: str) -> None:
    run = executor(
        f"param x: positional_only = input 0: float32[2]\nentry b0\nb0(%0: float32[2]):\n  {line}\n  return 0\n"
    )
    with pytest.raises(InternalError, match=message):
        run.call(tensor(1, 2))


def test_tunables_are_read_at_run_time() -> None:
    run = executor("""\
tunable threshold: float = 0.5
entry b0
b0:
  %0: float = host tunable('threshold')
  return %0
""")
    assert run.call() == 0.5
    run.tunables["threshold"] = 0.75
    assert run.call() == 0.75


def test_gradients_are_off() -> None:
    run = executor(
        "param x: positional_only = input 0: float32[1]\nentry b0\nb0(%0: float32[1]):\n"
        "  %1: float32[1] = module fc(%0)\n  return %1\n",
        modules={"fc": nn.Linear(1, 1)},
    )
    assert not run.call(tensor(1)).requires_grad


def test_a_broken_program_is_not_run() -> None:
    with pytest.raises(InternalError, match="%3 is used and never defined"):
        executor("entry b0\nb0:\n  return %3\n")


# ---------------------------------------------------------------- calls

CALL = """\
param x: positional_or_keyword = input 0: float32[n, 2]
param pair: positional_or_keyword = (input 1: int, {'y': input 2: float32[n]})
param mode: keyword_only optional = 'fast'
param scale: keyword_only optional = 1.0
param dtype: keyword_only optional = torch.float32
entry b0
b0(%0 x: float32[n, 2], %1 k: int, %2 y: float32[n]):
  return (%0, %1, %2)
"""


def test_arguments_are_bound_by_the_signature() -> None:
    run = executor(CALL)
    x, y = torch.zeros(3, 2), torch.zeros(3)
    for result in (run.call(x, (1, {"y": y})), run.call(pair=(1, {"y": y}), x=x, mode="fast", dtype=torch.float32)):
        assert result[0] is x and result[1] == 1 and result[2] is y


def test_a_parameter_that_must_be_given_stands_behind_one_that_need_not() -> None:
    run = executor(
        CALL.replace(
            "param x: positional_or_keyword =",
            "param first: positional_or_keyword optional = None\nparam x: positional_or_keyword =",
        )
    )
    assert run.call(x=X, pair=(1, {"y": Y}))[0] is X
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        run.call(None)


X, Y = torch.zeros(3, 2), torch.zeros(3)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((X,), {}, TypeError, "missing a required argument: 'pair'"),
        ((X, (1, {"y": Y}), "fast"), {}, TypeError, "too many positional arguments"),
        ((X.double(), (1, {"y": Y})), {}, TypeError, r"x: expected float32\[n, 2\], got float64\[3, 2\]"),
        ((Y, (1, {"y": Y})), {}, ValueError, r"x: expected float32\[n, 2\], got float32\[3\]"),
        ((X, (1, {"y": Y[:2]})), {}, ValueError, r"pair\[1\]\['y'\]: expected float32\[n\], got float32\[2\]"),
        ((X, (True, {"y": Y})), {}, TypeError, r"pair\[0\]: expected int, got bool True"),
        ((X, [1, {"y": Y}]), {}, TypeError, r"pair: the model was compiled for \(input 1: int, .* passes list"),
        ((X, (1, {"y": Y}, 2)), {}, TypeError, r"pair: the model was compiled for .* passes tuple"),
        ((X, (1, {"z": Y})), {}, TypeError, r"pair\[1\]: the model was compiled for .* passes dict"),
        ((X, (1, {"y": Y})), {"mode": "slow"}, ValueError, "mode: the model was compiled for 'fast', .* str 'slow'"),
        ((X, (1, {"y": Y})), {"scale": 1}, TypeError, "scale: the model was compiled for 1.0, .* int 1"),
        ((X, (1, {"y": Y})), {"dtype": torch.int8}, TypeError, "dtype: the model was compiled for torch.float32"),
        ((X, (1, {"y": Y})), {"other": 1}, TypeError, "unexpected keyword argument 'other'"),
    ],
)
def test_a_call_of_another_signature_is_refused(args: Any, kwargs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        executor(CALL).call(*args, **kwargs)


def test_records_are_bound() -> None:
    run = executor(
        "param out: positional_only = dataclass m:Output(logits=input 0: float32[1], steps=3)\n"
        "param pair: positional_only = namedtuple m:Pair(first=slice(0, nan, None), second=set(1))\n"
        "param fields: positional_only = mapping m:Fields(a=input 1: str)\n"
        "entry b0\nb0(%0: float32[1], %1: str):\n  return (%0, %1)\n",
        classes={"m:Output": Output, "m:Pair": Pair, "m:Fields": Fields},
    )
    x = tensor(1)
    pair = Pair(slice(0, float("nan"), None), {1})
    assert run.call(Output(x, 2), pair, Fields(a="b")) == (x, "b")
    with pytest.raises(ValueError, match="out\\['steps'\\]: the model was compiled for 3, this call passes int 4"):
        run.call(Output(x, 3), pair, Fields(a="b"))
    with pytest.raises(TypeError, match=r"fields: the model was compiled for .* passes dict"):
        run.call(Output(x, 2), pair, {"a": "b"})


def test_constants_of_a_call_are_told_apart_as_python_tells_them_apart() -> None:
    run = executor("param a: positional_only = 0.0\nparam b: positional_only = nan\nentry b0\nb0:\n  return 1\n")
    assert run.call(0.0, float("nan")) == 1
    for a, b in ((-0.0, float("nan")), (0.0, 1.0)):
        with pytest.raises(ValueError, match="the model was compiled for"):
            run.call(a, b)
    for a in (0, False):
        with pytest.raises(TypeError, match=r"a: the model was compiled for 0.0"):
            run.call(a, float("nan"))
