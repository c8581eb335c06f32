"""Arguments that are as they usually are: what is quickly taken is what the binder would keep, and nothing else."""

from __future__ import annotations

import pickle
import random
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from dycl.hostgen.arguments import UNSET, Array, Binder, Leaf, Parameter, Seen, Spec
from dycl.hostgen.containers import Items, Keys, ListOf, SliceOf
from dycl.hostgen.scalars import Constant, Number, TorchConstant
from dycl.hostgen.schemas import Field, Object, Schema
from dycl.hostgen.support import Host
from dycl.ir.program import Schema as IrSchema
from dycl.ir.program import SchemaField, SchemaKind
from dycl.ir.schemas import check_object
from dycl.ir.values import ObjectType


class Node:
    """An object of the caller's."""

    def __init__(self, word: Any, children: Any, **more: Any) -> None:
        self.word, self.children = word, children
        vars(self).update(more)


class Other(Node):
    """One that no example has."""


def twin() -> type:
    """Another class of the same name: schemas go by names."""
    return type("Node", (Node,), {})


SCHEMAS = {
    "Node": Schema(
        "instance",
        "Node",
        (
            Field("word", (Number(-1, "int"), Constant(None))),
            Field("children", (Object(-1, "list"), Object(-1, "pair"), Constant(None))),
            Field("state", (Array(-1, "float32", (1, "n")), Object(-1, "dict")), optional=True),
        ),
    ),
    "list": Schema("list", "list", (Field("item", (Object(-1, "Node"), Object(-1, "list"))),)),
    "pair": Schema("tuple", "tuple", (Field("0", (Object(-1, "Node"),)), Field("1", (Number(-1, "bool"),)))),
    "dict": Schema("dict", "dict", (Field("a", (Number(-1, "str"),), optional=True), Field("b", (Constant(None),)))),
}


def bound(spec: Spec, value: object) -> Binder | None:
    """What the binder keeps of a value, if it accepts it."""
    binder = Binder(by_identity=True, schemas=SCHEMAS)
    try:
        spec.bind(binder, "x", value)
    except (TypeError, ValueError):
        return None
    return binder


class BinderError(Exception):
    """A host has come to what takes longer."""


def host_of(spec: Spec) -> Any:
    """A host that is called with one argument, and knows what is usual alone."""

    class Usual(Host):
        SIGNATURE = (Parameter("x", spec),)

        def _bind(self, *_: object) -> list[Any]:
            raise BinderError

    Usual.SCHEMAS = SCHEMAS
    return Usual()


def check(spec: Spec, value: object) -> list[Any] | None:
    """What a host takes as usual, which the binder would keep object by object; None where it is not usual."""
    host, binder = host_of(spec), bound(spec, value)
    try:
        decide, *leaves = host._begin(value)
    except BinderError:
        return None
    assert binder is not None and decide(7, True) and host.decisions == [(7, True)]
    assert list(range(len(leaves))) == sorted(binder.leaves)
    assert all(leaf is binder.leaves[index] for index, leaf in enumerate(leaves))
    assert host.has_tensors == binder.has_tensors
    return [*leaves, host.has_tensors]


MATRIX = Array(0, "float32", (2, 3))
USUAL = np.zeros((2, 3), np.float32)
USUAL_VALUES: list[tuple[Spec, object]] = [
    (MATRIX, USUAL),
    (Array(0, "bool", ()), np.array(True)),
    (Array(0, "int64", ("n", 3, "n")), np.zeros((4, 3, 4), np.int64)),
    (Number(0, "int", 0, 5), 5),
    (Number(0, "float"), 0.5),
    (Constant(None), None),
    (Constant((1, "a")), (1, "a")),
    (Items("tuple", (MATRIX, Number(1, "bool"))), (USUAL, True)),
    (Items("list", (MATRIX, Array(1, "float32", ("n", 3)))), [USUAL, USUAL]),
    (Items("size", (Constant(2), Number(0, "int"))), torch.Size((2, 3))),
    (Keys((("a", MATRIX), (1, Number(1, "str")))), {"a": USUAL, 1: "x"}),
    (Keys((("a", Keys((("b", MATRIX),))), ("c", Constant(None)))), {"a": {"b": USUAL}, "c": None}),
]


@pytest.mark.parametrize(("spec", "value"), USUAL_VALUES)
def test_what_is_usual_is_taken(spec: Spec, value: object) -> None:
    assert check(spec, value) is not None


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (MATRIX, USUAL.astype(np.float64)),
        (MATRIX, USUAL.astype(">f4")),
        (MATRIX, USUAL[:, :2]),
        (MATRIX, np.asfortranarray(np.ones((2, 3), np.float32))),
        (MATRIX, np.ones((2, 3), np.float32).view(np.matrix)),
        (MATRIX, np.frombuffer(bytes(25), np.uint8)[1:].view(np.float32).reshape(2, 3)),
        (MATRIX, torch.zeros(2, 3)),
        (Array(0, "int64", ("n", 3, "n")), np.zeros((4, 3, 5), np.int64)),
        (Array(0, "int64", ("n",)), np.zeros((4, 3), np.int64)),
        (Array(0, "bfloat16", (1,)), np.zeros(1, np.float32)),
        (Array(1, "float32", (2, 3)), USUAL),  # what stands first is the first
        (Number(0, "int", 0, 5), 6),
        (Number(0, "int", 0, 5), -1),
        (Number(0, "int"), True),
        (Number(0, "float"), np.float64(0.5)),
        (Constant(None), 0),
        (Constant(1), True),
        (Constant(0.0), -0.0),
        (TorchConstant("torch.float32"), "torch.float32"),
        (ListOf(0, Number(-1, "int")), [1, 2]),
        (SliceOf(Constant(None), Number(0, "int"), Constant(None)), slice(3)),
        (Items("tuple", (MATRIX, Number(1, "bool"))), [USUAL, True]),
        (Items("tuple", (MATRIX, Number(1, "bool"))), (USUAL,)),
        (Items("set", (Constant(1),)), {1}),
        (Items("list", (MATRIX, MATRIX)), [USUAL, USUAL]),  # one object in two places
        (Items("list", (MATRIX, MATRIX)), [USUAL, USUAL.copy()]),
        (Keys((("a", MATRIX), ("b", Constant(1)))), {"b": 1, "a": USUAL}),
        (Keys((("a", MATRIX),)), {"a": USUAL, "b": 1}),
        (Keys(((1, Constant(None)),)), {True: None}),
        (Keys((("a", MATRIX),)), SimpleNamespace(a=USUAL)),
    ],
)
def test_what_is_not_is_left_to_the_binder(spec: Spec, value: object) -> None:
    assert check(spec, value) is None


@pytest.mark.parametrize("element", [Number(-1, "float"), Array(-1, "float32", (2,)), Array(-1, "float32", ("n",))])
def test_a_list_is_read_item_by_item_into_a_list_of_the_hosts_own(element: Leaf) -> None:
    ones = np.ones(4, np.float32)
    usual = {"Number": [0.5, 0.5], "Array": [ones[:2], ones[2:]]}[type(element).__name__]
    other = {"Number": np.float64(0.5), "Array": ones[::2]}[type(element).__name__]
    for given in (usual, [*usual, other]):
        binder = bound(ListOf(0, element), given)
        assert binder is not None
        read: Any = binder.leaves[0]
        assert read is not given and len(read) == len(given)
        assert all(a is b for a, b in zip(read, usual, strict=False))
        assert all(np.array_equal(a, b) for a, b in zip(read, given, strict=True))
        assert all(isinstance(a, float) or a.flags.c_contiguous for a in read)
    assert type(read[-1]) is type(usual[0])
    for wrong in (1, True, "x", ones.astype(np.float64)):
        assert bound(ListOf(0, element), [*usual, wrong]) is None
    assert bound(ListOf(0, Array(-1, "float32", ("n",))), [ones, ones[:3]]) is None


class Several(Host):
    """A host with several arguments, sizes with bounds and a method more."""

    SIGNATURE = (
        Parameter("x", Array(0, "float32", (1, "n"))),
        Parameter("y", Items("tuple", (Number(1, "int"), Array(2, "float32", ("n",))))),
        Parameter("mode", Constant(("a", 1)), optional=True),
    )
    METHODS: ClassVar = {
        "step": ("step", (Parameter("z", Number(0, "int")), Parameter("x", Array(1, "float32", (2, 3)))))
    }
    DIMENSIONS = (("n", 2, 4),)

    def _bind(self, *_: object) -> list[Any]:
        return ["bound"]


def test_several_arguments_are_taken_in_their_order() -> None:
    x, y = np.zeros((1, 3), np.float32), np.zeros(3, np.float32)
    host: Any = Several()
    assert [id(leaf) for leaf in host._begin(x, (2, y), ("a", 1))[1:]] == [id(x), id(2), id(y)]
    assert [id(leaf) for leaf in host._begin(x, (2, y), UNSET)[1:]] == [id(x), id(2), id(y)]
    assert [id(leaf) for leaf in host._begin(5, USUAL, of="step")[1:]] == [id(5), id(USUAL)]
    for wrong in ((x, (2, y), None), (x, (2, np.zeros(2, np.float32)), UNSET), (x, UNSET, UNSET)):
        assert host._begin(*wrong)[1:] == ("bound",)
    long, short = np.zeros((1, 5), np.float32), np.zeros((1, 1), np.float32)
    for array in (long, short):
        assert host._begin(array, (2, array[0]), UNSET)[1:] == ("bound",)


TREE = Object(0, "Node")


def test_objects_are_taken_by_the_classes_of_what_they_hold() -> None:
    leaf = Node(1, None)
    shared = Node(2, [leaf, leaf, [leaf]], state=np.zeros((1, 4), np.float32))
    tree = Node(None, (shared, True), state={"b": None})
    for _ in range(2):  # met for the first time, and known
        assert check(TREE, tree) == [tree, False]
    leaf.children = [tree]
    assert check(TREE, tree) is not None  # round in a circle
    assert check(TREE, twin()(1, [])) is not None
    shared.state = torch.zeros(1, 2)
    assert check(TREE, tree) == [tree, True]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda node: setattr(node, "word", True),
        lambda node: setattr(node, "word", "1"),
        lambda node: delattr(node, "word"),
        lambda node: delattr(node, "children"),
        lambda node: setattr(node, "children", [Other(1, None)]),
        lambda node: setattr(node, "children", [None]),
        lambda node: setattr(node, "children", ()),
        lambda node: setattr(node, "children", (Node(1, None), 1)),
        lambda node: setattr(node, "state", np.zeros((1, 4))),
        lambda node: setattr(node, "state", np.zeros((2, 4), np.float32)),
        lambda node: setattr(node, "state", torch.zeros(4)),
        lambda node: setattr(node, "state", {}),
        lambda node: setattr(node, "state", {"b": None, "c": None}),
        lambda node: setattr(node, "state", {"a": 1, "b": None}),
    ],
)
def test_objects_that_do_not_fit_are_left_to_the_binder(spoil: Any) -> None:
    node = Node(1, [Node(2, None)])
    tree = Node(1, [Node(3, None), node])
    assert check(TREE, tree) is not None
    spoil(node)
    assert check(TREE, tree) is None and bound(TREE, tree) is None


def test_objects_that_are_shared_are_not_looked_at_on_every_way_to_them() -> None:
    node = Node(1, None)
    for _ in range(200):
        node = Node(1, [node, node])
    assert check(TREE, node) == [node, False]


class Computed:
    """Its list is made when it is asked for, and may lie where another one has lain."""

    word = 1

    def __init__(self, *children: Any) -> None:
        self._children = children

    @property
    def children(self) -> list[Any]:
        return list(self._children)


Computed.__name__ = "Node"


def test_a_list_that_lies_where_another_was_is_looked_at() -> None:
    table = (
        IrSchema("Node", SchemaKind.INSTANCE, "m:Node", (SchemaField("children", (ObjectType("list"),)),)),
        IrSchema("list", SchemaKind.LIST, "list", (SchemaField("item", (ObjectType("Node"),)),)),
    )
    for depth in range(12):
        good, wrong = Computed(), Computed(Other(1, None))
        for _ in range(depth):
            good, wrong = Computed(good), Computed(wrong)
        assert check(TREE, wrong) is None and bound(TREE, wrong) is None
        assert check(TREE, good) is not None
        check_object("x", "Node", good, table)
        with pytest.raises(TypeError, match="the examples have no Other like this"):
            check_object("x", "Node", wrong, table)


def random_value(draw: random.Random, depth: int) -> Any:
    """A value that an object may hold, or not."""
    if depth == 0 or draw.random() < 0.2:
        arrays = np.zeros((1, 2), np.float32), np.zeros(2), torch.zeros(1, 3), torch.zeros(1, 3).double()
        return draw.choice([None, 1, True, "x", 0.5, *arrays])
    kind = draw.randrange(6)
    parts = [random_value(draw, depth - 1) for _ in range(draw.randrange(4))]
    if kind == 0:
        return parts
    if kind == 1:
        return tuple(parts)
    if kind == 2:
        return dict(zip("bac", parts, strict=False))
    node = draw.choice([Node, Node, Node, Other])(draw.choice([1, None, 2, "x"]), draw.choice([None, parts]))
    if draw.random() < 0.3:
        node.state = random_value(draw, depth - 1)
    return node


def test_random_objects_are_taken_where_the_binder_takes_them() -> None:
    draw = random.Random(0)
    accepted = 0
    for _ in range(3000):
        value = Node(1, [random_value(draw, 2)])
        found = check(TREE, value)
        assert (found is None) == (bound(TREE, value) is None)
        accepted += found is not None
    assert 100 < accepted < 2900


def test_a_field_does_not_remember_classes_without_end() -> None:
    for _ in range(200):
        assert check(TREE, twin()(1, [twin()(1, None)])) is not None
    assert len(SCHEMAS["list"].fields[0].known) <= 64


def test_an_array_from_another_process_is_as_usual() -> None:
    """An unpickled array has an object of its own for its type; numpy takes long to tell the name of that."""
    array = pickle.loads(pickle.dumps(np.ones((1, 4), np.float32)))
    assert array.dtype is not np.dtype("float32")
    assert Array(0, "float32", (1, 4)).is_usual(Seen({}), array)
    assert not Array(0, "float64", (1, 4)).is_usual(Seen({}), array)
    assert not Array(0, "float32", (1, 4)).is_usual(Seen({}), array.astype(">f4"))
