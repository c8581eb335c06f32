"""The one walker: copies are independent, keys are canonical, positions agree, and what cannot be copied is refused."""

from __future__ import annotations

import collections
import dataclasses
import io
import itertools

import pytest
import torch
from torch import nn

from dycl.diagnostics import UnsupportedError
from dycl.ir.values import ScalarKind
from dycl.passes.specialize.hints import Hints
from dycl.passes.specialize.machine import Machine
from dycl.passes.specialize.values import RangeIterator, SequenceIterator, Text, TextPart
from dycl.passes.specialize.walker import Walker
from dycl.passes.specialize.weights import WeightNames


@pytest.fixture
def machine() -> Machine:
    model = nn.Linear(2, 2)
    return Machine(model, Hints(), WeightNames(model))


def tensor(machine: Machine, *shape: int) -> torch.Tensor:
    """A fake tensor with a name in the program."""
    with machine.fake:
        made = torch.empty(shape)
    machine.adopt(made)
    return made


def walk(machine: Machine, value):
    """A copy of the value and the walker that made it."""
    walker = Walker(machine, machine.state)
    return walker.walk(value), walker


@dataclasses.dataclass
class Point:
    x: object
    y: object


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


@pytest.mark.parametrize(
    "value",
    [
        [1, 2.0, True, None, "text", b"bytes", ...],
        {"a": [1], "b": {"c": (1, 2)}},
        {1, 2, 3},
        frozenset({"x"}),
        collections.deque([1, 2], maxlen=3),
        collections.OrderedDict(a=1),
        collections.Counter("aab"),
        slice(1, None, 2),
        range(4),
        (1, (2, [3])),
        Point(1, [2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_copy_is_equal(machine, value):
    copy, _ = walk(machine, value)
    assert copy == value
    assert type(copy) is type(value)


def test_a_copy_shares_nothing_mutable(machine):
    value = {"list": [1, [2]], "object": Point([1], {2}), "slots": Slotted([3])}
    copy, _ = walk(machine, value)
    copy["list"][1].append(9)
    copy["object"].x.append(9)
    copy["slots"].a.append(9)
    assert value["list"] == [1, [2]]
    assert value["object"].x == [1]
    assert value["slots"].a == [3]


def test_identity_survives_the_copy(machine):
    inner = [1]
    loop: list = [inner, inner]
    loop.append(loop)
    copy, _ = walk(machine, {"a": inner, "b": loop})
    assert copy["b"][0] is copy["b"][1] is copy["a"]
    assert copy["b"][2] is copy["b"]


def test_equal_states_have_equal_keys(machine):
    first = {"x": [1, (2, "a")], "t": tensor(machine, 2)}
    second = {"x": [1, (2, "a")], "t": tensor(machine, 2)}
    assert walk(machine, first)[1].key == walk(machine, second)[1].key


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([1], [1.0]),
        ([1], [True]),
        ([0.0], [-0.0]),
        ((1,), [1]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (Point(1, 2), Slotted(1)),
        (collections.deque([1]), collections.deque([1], maxlen=1)),
    ],
)
def test_what_python_can_tell_apart_has_different_keys(machine, left, right):
    assert walk(machine, left)[1].key != walk(machine, right)[1].key


def test_sharing_is_part_of_the_key(machine):
    one = [0]
    assert walk(machine, [one, one])[1].key != walk(machine, [[0], [0]])[1].key


def test_tensors_enter_by_type_and_aliasing_alone(machine):
    a, b = tensor(machine, 2, 3), tensor(machine, 2, 3)
    assert walk(machine, [a, b])[1].key == walk(machine, [b, a])[1].key
    assert walk(machine, [a, b])[1].key != walk(machine, [a, a])[1].key
    assert walk(machine, [a])[1].key != walk(machine, [tensor(machine, 3, 2)])[1].key
    with machine.fake:
        view = a[0]
        machine.adopt(view)
    assert walk(machine, [a, view])[1].key != walk(machine, [a, tensor(machine, 3)])[1].key


def test_leaves_come_in_the_order_of_the_traversal(machine):
    tensors = [tensor(machine, n) for n in (1, 2, 3)]
    _, walker = walk(machine, {"b": tensors[2], "a": [tensors[0], (tensors[1], tensors[2])]})
    assert [t.shape[0] for t in walker.tensors] == [3, 1, 2]


def test_numbers_are_substituted_where_the_slots_say(machine):
    value = {"n": 3, "xs": [1, "a", 2]}
    _, walker = walk(machine, value)
    assert [slot.value for slot in walker.slots] == [3, 1, 2]
    scalar = machine.new_int()
    second = Walker(machine, machine.state, substitute={walker.slots[2].address: scalar})
    copy = second.walk(value)
    assert copy["n"] == 3
    assert copy["xs"][2] is scalar
    assert [slot.value for slot in second.slots][:2] == [3, 1]


def test_keys_of_dicts_and_parts_of_slices_are_not_generalised(machine):
    _, walker = walk(machine, ({1: "a"}, slice(1, 2), torch.Size([3])))
    assert walker.slots == []


def test_a_run_time_number_is_one_class_wherever_it_stands(machine):
    scalar = machine.new_scalar(ScalarKind.FLOAT)
    _, walker = walk(machine, [scalar, {"a": scalar}])
    assert len(walker.scalars) == 1
    assert (
        walk(machine, [scalar, scalar])[1].key != walk(machine, [scalar, machine.new_scalar(ScalarKind.FLOAT)])[1].key
    )


def test_iterators_are_copied_with_their_position(machine):
    numbers = SequenceIterator([1, 2, 3])
    next(numbers)
    counter = RangeIterator(0, 3, 1)
    next(counter)
    (copy, counted), _ = walk(machine, (numbers, counter))
    assert list(copy) == [2, 3]
    assert list(counted) == [1, 2]
    assert list(numbers) == [2, 3]


def test_consumed_items_are_dead_if_nobody_else_sees_the_list(machine):
    late, early = SequenceIterator((1, 2, 3)), SequenceIterator((3,))
    next(late), next(late)
    assert walk(machine, late)[1].key == walk(machine, early)[1].key
    shared = [1, 2, 3]
    seen = SequenceIterator(shared)
    next(seen), next(seen)
    assert walk(machine, (shared, seen))[1].key != walk(machine, ([3], SequenceIterator([3])))[1].key


def test_text_keeps_its_run_time_parts(machine):
    scalar = machine.new_scalar(ScalarKind.FLOAT)
    text = Text.of("loss ", TextPart(scalar, "", ".2f"))
    copy, walker = walk(machine, text)
    assert copy.parts[0] == "loss "
    assert copy.parts[1].value is scalar
    assert walker.scalars == [scalar]


def test_exceptions_are_copied_with_what_they_carry(machine):
    error = KeyError("key", [1])
    error.extra = [2]
    copy, _ = walk(machine, error)
    assert type(copy) is KeyError
    assert copy.args == ("key", [1])
    assert copy.args[1] is not error.args[1]
    assert copy.extra == [2]
    assert copy.extra is not error.extra


@pytest.mark.parametrize(
    "value",
    [
        itertools.pairwise([1, 2]),
        iter([1]),
        zip([1], [2], strict=True),
        (n for n in [1]),
        io.StringIO("file"),
        enumerate([1]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_native_mutable_objects_are_refused_at_any_depth(machine, value):
    with pytest.raises(UnsupportedError) as caught:
        walk(machine, {"deep": [Point(value, None)]})
    assert caught.value.code == "DY205"
    assert type(value).__qualname__ in caught.value.message


def test_what_the_model_had_before_is_atomic(machine):
    old = [1, 2]
    machine.remember_old(old)
    copy, _ = walk(machine, [old])
    assert copy[0] is old
