"""Which modules and subgraphs count as one structure, and which weights fill it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from dycl.diagnostics import InternalError
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, CallModule, Dispatch, Return, Subgraph, TensorOp
from dycl.ir.program import Entry, Param, ParamKind, Program
from dycl.ir.values import BlockId, InputLeaf, Ref, Seq, SeqKind, SubgraphId, TensorType, Value, ValueId
from dycl.passes import deduplicate
from dycl.passes.analysis.structure import module_key
from dycl.passes.deduplicate import structure_key, weight_slots


class Scaled(nn.Module):
    """A module with configuration that no `extra_repr` shows."""

    def __init__(self, factor: object) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.factor = factor


def subgraph(*paths: str, dims: tuple[int | str, ...] = (1, 4)) -> Subgraph:
    values = [Value(ValueId(index + 5), TensorType("float32", dims)) for index in range(len(paths) + 1)]
    ops = tuple(
        TensorOp(target=CallModule(path), args=(Ref(given.id),), results=(made,))
        for path, given, made in zip(paths, values, values[1:], strict=False)
    )
    return Subgraph(id=SubgraphId(0), name="00_x", params=(values[0],), ops=ops, results=(values[-1].id,))


def program(*subgraphs: Subgraph) -> Program:
    """One that dispatches to each, with what it takes being read from the state."""
    params = tuple(replace(found.params[0], id=ValueId(number)) for number, found in enumerate(subgraphs))
    first = len(params)
    dispatches = tuple(
        Dispatch(
            subgraph=found.id,
            args=(Ref(ValueId(number)),),
            results=(replace(found.ops[-1].results[0], id=ValueId(first + number)),),
        )
        for number, found in enumerate(subgraphs)
    )
    end = Return(value=Seq(SeqKind.TUPLE, tuple(Ref(op.results[0].id) for op in dispatches)))
    return Program(
        name="P",
        signature=tuple(
            Param(name=f"x{number}", kind=ParamKind.POSITIONAL_OR_KEYWORD, spec=InputLeaf(number, param.type))
            for number, param in enumerate(params)
        ),
        entries=(Entry(block=BlockId(0)),),
        blocks=(Block(id=BlockId(0), params=params, ops=dispatches, end=end),),
        subgraphs=subgraphs,
    )


def environment(**modules: nn.Module) -> Environment:
    weights: dict[str, torch.Tensor] = {}
    for path, module in modules.items():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if all(tensor is not known for known in weights.values()):
                weights[f"{path}.{name}"] = tensor
    return Environment(weights=weights, modules=dict(modules))


CONFIG = {"a": 1}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (nn.Linear(4, 4), nn.Linear(4, 4), True),
        (nn.Linear(4, 4), nn.Linear(4, 4, bias=False), False),
        (nn.Linear(4, 4), nn.Linear(4, 4).double(), False),
        (nn.LayerNorm(4), nn.LayerNorm(4, eps=1e-3), False),
        (nn.Dropout(0.5).eval(), nn.Dropout(0.5).train(), False),
        (nn.LSTM(4, 4), nn.LSTM(4, 4), True),
        (nn.LSTM(4, 4), nn.LSTM(4, 4, batch_first=True), False),
        (nn.MultiheadAttention(4, 2), nn.MultiheadAttention(4, 2), True),
        (nn.TransformerEncoderLayer(4, 2, 8), nn.TransformerEncoderLayer(4, 2, 8), True),
        (nn.TransformerEncoderLayer(4, 2, 8), nn.TransformerEncoderLayer(4, 2, 8, activation="gelu"), False),
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Sequential(nn.Linear(4, 4), nn.ReLU()), True),
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Sequential(nn.Linear(4, 4), nn.GELU()), False),
        (nn.BatchNorm1d(4), nn.BatchNorm1d(4), True),
        (Scaled(1), Scaled(1), True),
        (Scaled(1), Scaled(1.0), False),
        (Scaled(1), Scaled(True), False),
        (Scaled((1, [2, None])), Scaled((1, [2, None])), True),
        (Scaled(CONFIG), Scaled({"a": 2}), False),
        (Scaled(object()), Scaled(object()), False),
        (Scaled(CONFIG), Scaled(CONFIG), True),
        (Scaled(torch.ones(1)), Scaled(torch.ones(1)), False),
    ],
)
def test_module_keys(one: nn.Module, other: nn.Module, alike: bool) -> None:
    assert (module_key(one) == module_key(other)) is alike
    assert module_key(one) == module_key(one)
    hash(module_key(one))


def test_a_hook_and_an_own_forward_make_a_module_unlike_others() -> None:
    hooked, plain, patched = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
    hooked.register_forward_hook(lambda module, args, result: result * 2)
    patched.forward = lambda x: x  # type: ignore[method-assign, assignment]
    assert module_key(hooked) != module_key(plain)
    assert module_key(patched) != module_key(plain)


def test_slots_correspond() -> None:
    env = environment(a=nn.LSTM(4, 4), b=nn.LSTM(4, 4), c=nn.Linear(4, 4), d=nn.Linear(4, 4))
    assert structure_key(subgraph("a", "c"), env) == structure_key(subgraph("b", "d"), env)
    one, other = weight_slots(subgraph("a", "c"), env), weight_slots(subgraph("b", "d"), env)
    assert one == ("a.weight_ih_l0", "a.weight_hh_l0", "a.bias_ih_l0", "a.bias_hh_l0", "c.weight", "c.bias")
    assert [name.replace("b.", "a.").replace("d.", "c.") for name in other] == list(one)


def test_tied_weights_have_one_name() -> None:
    a, b, c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    env = environment(a=a, b=b, c=c)
    assert weight_slots(subgraph("a", "b"), env) == ("a.weight", "a.bias", "b.bias")
    assert weight_slots(subgraph("b"), env) == ("a.weight", "b.bias")
    assert structure_key(subgraph("a", "b"), env) != structure_key(subgraph("a", "c"), env)
    assert structure_key(subgraph("b"), env) == structure_key(subgraph("c"), env)


def test_tied_weights_that_only_modules_name_have_one_name() -> None:
    a, b, c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    env = Environment(modules={"a": a, "b": b, "c": c})
    assert weight_slots(subgraph("a", "b"), env) == ("a.weight", "a.bias", "b.bias")
    assert structure_key(subgraph("a", "b"), env) != structure_key(subgraph("a", "c"), env)


def test_a_module_used_twice_is_not_two_modules() -> None:
    env = environment(a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    assert structure_key(subgraph("a", "a"), env) != structure_key(subgraph("a", "b"), env)


def test_named_dimensions_are_equal_up_to_their_names() -> None:
    env = environment(a=nn.Linear(4, 4))
    keys = [structure_key(subgraph("a", dims=dims), env) for dims in (("n", 4), ("m", 4), ("n", "n"), (1, 4))]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("general", "special", "serves"),
    [
        (("n", "m"), ("n", "n"), True),
        (("n", "m"), ("m", "n - 1"), True),
        (("n", "n - 1"), ("2*m", "2*m - 1"), True),
        (("n", "n - 1"), ("m", "m + 1"), False),
        (("n - 1", "m - 1"), ("n - 1", "n - 1"), False),  # what `n` and `m` are is not known
        (("n", 4), (4, 4), False),  # a target knows more of a number
        ((1, "n"), ("n", "n"), False),
        (("n", "m"), ("n",), False),
    ],
)
def test_a_subgraph_serves_those_with_fewer_different_sizes(
    general: tuple[int | str, ...], special: tuple[int | str, ...], serves: bool
) -> None:
    env = environment(a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    for order in ((general, special), (special, general)):
        both = [replace(subgraph("a", dims=dims), id=SubgraphId(index)) for index, dims in enumerate(order)]
        found = deduplicate.run(program(*both), env)
        assert len(found.subgraphs) == (1 if serves else 2)
        ops = [op for op in found.blocks[0].ops if isinstance(op, Dispatch)]
        taken = {dims: found.subgraphs[op.subgraph].params[0].type for dims, op in zip(order, ops, strict=True)}
        assert taken[general] == TensorType("float32", general)
        assert taken[special] == TensorType("float32", general if serves else special)
    other = replace(subgraph("b", dims=special), id=SubgraphId(1))
    assert len(deduplicate.run(program(subgraph("a", dims=general), other), env).subgraphs) == 2  # of other weights


def test_a_path_that_names_another_tensor_is_an_error() -> None:
    env = environment(a=nn.Linear(4, 4))
    env.weights["a.weight"] = torch.zeros(4, 4)
    with pytest.raises(InternalError, match=r"a\.weight"):
        weight_slots(subgraph("a"), env)
