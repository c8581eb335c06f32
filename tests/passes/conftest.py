"""Random programs, and the modules and weights that they name.

The generator writes structured programs (branches, counted loops, early returns, writes in place through views, state)
straight into blocks, with every variable passed to every join, as a naive compiler would.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import nn

from dycl.diagnostics import SourceRange
from dycl.ir.dataflow import op_uses
from dycl.ir.environment import Environment
from dycl.ir.nodes import (
    Block,
    Branch,
    CallFunction,
    CallModule,
    Edge,
    HostOp,
    Jump,
    Op,
    Return,
    Target,
    TensorOp,
    Terminator,
)
from dycl.ir.numbering import renumber
from dycl.ir.program import Entry, Param, ParamKind, Program, StateSlot
from dycl.ir.values import (
    BlockId,
    InputLeaf,
    Lit,
    Operand,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    SliceOf,
    TensorType,
    Value,
    ValueId,
    ValueType,
    Weight,
)
from dycl.ir.verifier import verify
from dycl.passes.analysis.mutation import find_read_values

TENSOR = TensorType("float32", (1, 4))
SCALAR = TensorType("float32", ())
FLAT = TensorType("float32", (4,))
ONE = TensorType("float32", (1,))
FLOATS = (TENSOR, SCALAR, FLAT, ONE)
FOUR = TensorType("float32", (4, 4))  # made of others, never written
TWO = TensorType("float32", (2, 4))
PLACE = TensorType("int64", (1,))
TRUTH = TensorType("bool", ())
TRUTHS = TensorType("bool", (1,))
INT, FLOAT, BOOL = (ScalarType(kind) for kind in (ScalarKind.INT, ScalarKind.FLOAT, ScalarKind.BOOL))


@pytest.fixture(scope="session")
def random_environment() -> Environment:
    """What random programs name."""
    torch.manual_seed(0)
    modules: dict[str, nn.Module] = {
        "stem": nn.Linear(4, 4),
        "blocks.0": nn.Linear(4, 4),
        "blocks.1": nn.Linear(4, 4),
        "drop": nn.Dropout(0.5).eval(),
    }
    weights: dict[str, torch.Tensor] = {
        f"{path}.{n}": p for path, module in modules.items() for n, p in module.named_parameters()
    }
    calls = tuple(((torch.full((1, 4), float(x)), torch.full((1, 4), 1.0 - x)), {}) for x in (1, 1, 1, -1))
    return Environment(
        weights={**weights, "memory": torch.ones(1, 4), "shift": torch.full((1, 4), 0.5)}, modules=modules, calls=calls
    )


@dataclass(frozen=True)
class Variable:
    """What a source variable holds now; `memory`: the storages it may be a name of."""

    id: ValueId
    type: ValueType
    memory: frozenset[int] = frozenset()


Scope = dict[str, Variable]

ELEMENTWISE = ("add", "sub", "mul", "div", "round", "floor", "neg", "abs")
COMMON = (("torch.relu",), ("torch.add",), ("blocks.0",), ("torch.minimum", "stem"), ("torch.relu", "torch.add"))
_PLACES = ("torch.Tensor.argmax", "torch.argmin")

START = BlockId(0)
DEEPEST = 9  # the depth at which nothing is nested
INPUTS = 0  # the storages of the inputs, which are never written
LOST = -1  # storages that came around a loop: what else names them is not known


@dataclass
class Generator:
    """Writes one random program."""

    random: random.Random
    blocks: dict[BlockId, Block] = field(default_factory=dict)
    values: int = 0
    memories: int = 0
    names: int = 0
    lines: int = 0
    budget: int = 40
    writes: bool = True
    # the block being written
    block: BlockId = START
    params: tuple[Value, ...] = ()
    ops: list[Op] = field(default_factory=list)
    reserved: int = 1

    def program(self) -> Program:
        x, y, memory = self.params = tuple(self.value(TENSOR, name) for name in ("x", "y", "memory"))
        scope = {
            "x": Variable(x.id, TENSOR, frozenset({INPUTS})),
            "y": Variable(y.id, TENSOR, frozenset({INPUTS})),
            "memory": Variable(memory.id, TENSOR, frozenset({self.fresh()})),
        }
        self.writes = self.random.random() < 0.7
        straight = self.random.random() < 0.3  # one long block: what partition has to order
        scope = self.body(scope, depth=DEEPEST if straight else 0)
        self.finish(self.leave(scope))
        leaves = (InputLeaf(0, TENSOR), InputLeaf(1, TENSOR))
        params = tuple(
            Param(name=name, kind=ParamKind.POSITIONAL_OR_KEYWORD, spec=leaf)
            for name, leaf in zip("xy", leaves, strict=True)
        )
        program = Program(
            name="Random",
            signature=params,
            entries=(Entry(block=START, slots=(StateSlot("memory", Ref(memory.id)),), state_params=1),),
            initial=(Weight("memory"),),
            blocks=tuple(self.blocks[BlockId(index)] for index in range(len(self.blocks))),
        )
        program = renumber(program)
        return forget_dead_names(program) if self.random.random() < 0.7 else program

    # ------------------------------------------------------------ pieces

    def fresh(self) -> int:
        self.memories += 1
        return self.memories

    def value(self, of: ValueType, name: str = "") -> Value:
        self.values += 1
        return Value(ValueId(self.values - 1), of, name)

    def loc(self) -> SourceRange:
        self.lines += 1
        return SourceRange("/random.py", self.lines, 0, self.lines, 1, "forward")

    def pick(self, scope: Scope, of: ValueType) -> str | None:
        names = [name for name, variable in scope.items() if variable.type == of]
        return self.random.choice(names) if names else None

    def target_name(self, scope: Scope, of: ValueType) -> str:
        """A new variable, or an old one that is assigned again; `memory` too, which is state."""
        name = self.pick(scope, of)
        if name is not None and name not in ("x", "y") and self.random.random() < 0.5:
            return name
        self.names += 1
        return f"v{self.names}"

    def tensor_op(self, target: str, args: Sequence[Operand], of: TensorType) -> Value:
        result = self.value(of)
        called: Target = CallFunction(target) if target.startswith("torch.") else CallModule(target)
        self.ops.append(TensorOp(target=called, args=tuple(args), results=(result,), loc=self.loc()))
        return result

    def host_op(self, function: str, args: Sequence[Operand], of: ScalarType) -> Value:
        result = self.value(of)
        self.ops.append(HostOp(function=function, args=tuple(args), result=result, loc=self.loc()))
        return result

    # ------------------------------------------------------------ blocks

    def reserve(self) -> BlockId:
        self.reserved += 1
        return BlockId(self.reserved - 1)

    def finish(self, end: Terminator) -> None:
        self.blocks[self.block] = Block(id=self.block, params=self.params, ops=tuple(self.ops), end=end)

    def start(self, block: BlockId, params: tuple[Value, ...] = ()) -> None:
        self.block, self.params, self.ops = block, params, []

    def leave(self, scope: Scope) -> Return:
        names = self.random.sample(sorted(scope), min(len(scope), 4))
        value = Seq(SeqKind.TUPLE, tuple(Ref(scope[name].id) for name in names))
        return Return(value=value, state=(Ref(scope["memory"].id),), loc=self.loc())

    # ------------------------------------------------------------ statements

    def body(self, scope: Scope, depth: int) -> Scope:
        for _ in range(self.budget if depth == DEEPEST else self.random.randint(2, 9)):
            if self.budget <= 0:
                break
            self.budget -= 1
            statement = self.random.choices(
                (
                    *(self.assign, self.assign_view, self.write, self.collect),
                    *(self.compute, self.divide, self.branch, self.loop),
                ),
                weights=(
                    4,
                    3,
                    *((5, 2) if self.writes else (0, 5)),
                    5,
                    2,
                    3 if depth < 3 else 0,
                    2 if depth < 2 else 0,
                ),
            )[0]
            scope = statement(dict(scope), depth)
        return scope

    def assign(self, scope: Scope, depth: int) -> Scope:
        a, b = self.pick(scope, TENSOR), self.pick(scope, TENSOR)
        assert a is not None and b is not None
        first, second = Ref(scope[a].id), Ref(scope[b].id)
        number = self.pick(scope, FLOAT)
        kinds: list[tuple[str, tuple[Operand, ...]]] = [
            ("torch.relu", (first,)),
            ("torch.add", (first, second)),
            ("torch.mul", (first, Ref(scope[number].id) if number else Lit(0.5))),
            ("torch.sub", (first, Weight("shift"))),
            ("torch.Tensor.clone", (first,)),
            ("stem", (first,)),
            ("blocks.0", (first,)),
            ("blocks.1", (first,)),
        ]
        target, args = self.random.choice(kinds)
        result = self.tensor_op(target, args, TENSOR)
        scope[self.target_name(scope, TENSOR)] = Variable(result.id, TENSOR, frozenset({self.fresh()}))
        return scope

    def assign_view(self, scope: Scope, depth: int) -> Scope:
        name = self.pick(scope, TENSOR)
        assert name is not None
        source = scope[name]
        target, args, of = self.random.choice(
            [
                ("torch.Tensor.view", (Lit(1), Lit(4)), TENSOR),
                ("torch.Tensor.detach", (), TENSOR),
                ("drop", (), TENSOR),
                ("torch.Tensor.view", (Lit(-1),), FLAT),
                ("torch.Tensor.select", (Lit(0), Lit(0)), FLAT),
            ]
        )
        result = self.tensor_op(target, (Ref(source.id), *args), of)
        scope[self.target_name(scope, of)] = Variable(result.id, of, source.memory)
        return scope

    def collect(self, scope: Scope, depth: int) -> Scope:
        """Several tensors as one, some rows of that, the row at a place: what the host may make of what it has."""
        four, place, given = self.pick(scope, FOUR), self.pick(scope, PLACE), self.pick(scope, TENSOR)
        assert given is not None
        memory = frozenset({self.fresh()})
        if four is None or self.random.random() < 0.3:
            names = [self.pick(scope, TENSOR) or given for _ in range(4)]
            parts = Seq(SeqKind.LIST, tuple(Ref(scope[name].id) for name in names))
            found, of = self.tensor_op("torch.cat", (parts, Lit(self.random.choice((0, -2)))), FOUR), FOUR
        elif place is not None and self.random.random() < 0.7:
            args = (Ref(scope[four].id), Ref(scope[place].id))
            found, of = self.tensor_op("torch.Tensor.__getitem__", args, TENSOR), TENSOR
        elif self.random.random() < 0.5:
            rows = SliceOf(Lit(1), Lit(3), Lit(None))
            found, of = self.tensor_op("torch.Tensor.__getitem__", (Ref(scope[four].id), rows), TWO), TWO
            memory = scope[four].memory
        else:
            flat = self.tensor_op("torch.Tensor.view", (Ref(scope[given].id), Lit(-1)), FLAT)
            parts = Seq(SeqKind.LIST, (Ref(flat.id), Ref(flat.id)))
            found, of = self.tensor_op("torch.stack", (parts,), TWO), TWO
        scope[self.target_name(scope, of)] = Variable(found.id, of, memory)
        return scope

    def write(self, scope: Scope, depth: int) -> Scope:
        """`name += something`, where it is known what else is a name of the memory."""
        names = [
            name for name, variable in scope.items() if variable.type in FLOATS and not variable.memory & {INPUTS, LOST}
        ]
        number = self.pick(scope, FLOAT)
        if not names:
            return scope
        name = self.random.choice(sorted(names))
        written = scope[name]
        aliases = sorted(n for n, v in scope.items() if v.memory & written.memory)
        by_id = {scope[alias].id: scope[alias] for alias in aliases}
        news = {old: self.value(variable.type) for old, variable in by_id.items()}
        assert isinstance(written.type, TensorType)
        result = self.value(written.type)
        operand: Operand = Ref(scope[number].id) if number and self.random.random() < 0.5 else Lit(1)
        function = self.random.choice(("torch.Tensor.add_", "torch.Tensor.mul_"))
        self.ops.append(
            TensorOp(
                target=CallFunction(function),
                args=(Ref(written.id), operand),
                results=(result,),
                mutates=tuple(news.items()),
                loc=self.loc(),
            )
        )
        for alias in aliases:
            scope[alias] = replace(scope[alias], id=news[scope[alias].id].id)
        scope[name] = replace(scope[name], id=result.id)
        return scope

    def compute(self, scope: Scope, depth: int) -> Scope:
        if self.random.random() < 0.3:
            return self.look(scope)
        kind = self.random.randrange(7)
        number, whole, truth = self.pick(scope, FLOAT), self.pick(scope, INT), self.pick(scope, BOOL)
        if kind == 0 or number is None:
            name = self.pick(scope, TENSOR)
            assert name is not None
            total = self.tensor_op("torch.sum", (Ref(scope[name].id),), SCALAR)
            result, of = self.host_op("item", (Ref(total.id),), FLOAT), FLOAT
        elif kind == 6:
            result, of = self.element(scope), FLOAT
        elif kind == 1:
            literal = Lit(self.random.choice((0.0, 1.0, -2.5)))
            function = self.random.choice(("gt", "lt", "eq", "ne"))
            result, of = self.host_op(function, (Ref(scope[number].id), literal), BOOL), BOOL
        elif kind == 2 and truth is not None:
            result, of = self.host_op("not_", (Ref(scope[truth].id),), BOOL), BOOL
        elif kind == 3:
            operands: tuple[Operand, ...] = (Ref(scope[whole].id) if whole else Lit(2), Lit(self.random.randint(0, 2)))
            result, of = self.host_op(self.random.choice(("add", "mul", "sub")), operands, INT), INT
        elif kind == 4:
            result, of = self.host_op("int", (Ref(scope[number].id),), INT), INT
        else:
            result, of = self.host_op("mul", (Ref(scope[number].id), Lit(0.25)), FLOAT), FLOAT
        scope[self.target_name(scope, of)] = Variable(result.id, of)
        return scope

    def look(self, scope: Scope) -> Scope:
        """A largest number or its place, a comparison of single elements: small work that the host may do."""
        name, place, number = self.pick(scope, TENSOR), self.pick(scope, PLACE), self.pick(scope, SCALAR)
        assert name is not None
        tensor = Ref(scope[name].id)
        kind = self.random.randrange(4)
        if kind == 0 or place is None:
            found, of = self.tensor_op(self.random.choice(_PLACES), (tensor, Lit(1)), PLACE), PLACE
        elif kind == 1:
            other = self.tensor_op("torch.argmax", (tensor, Lit(-1)), PLACE)
            equal = self.tensor_op("torch.Tensor.eq", (Ref(scope[place].id), Ref(other.id)), TRUTHS)
            found, of = self.host_op("item", (Ref(equal.id),), BOOL), BOOL
        elif kind == 2:
            found, of = self.host_op("item", (Ref(scope[place].id),), INT), INT
        else:
            if number is None or self.random.random() < 0.5:
                largest = self.tensor_op(self.random.choice(("torch.Tensor.max", "torch.amin")), (tensor,), SCALAR)
            else:
                largest = Value(scope[number].id, SCALAR)
            limit = Lit(self.random.choice((0.1, 1, -2.5)))
            truth = self.tensor_op("torch.Tensor.__gt__", (Ref(largest.id), limit), TRUTH)
            function = self.random.choice(("item", "bool"))
            found, of = self.host_op(function, (Ref(truth.id),), BOOL), BOOL
        memory = frozenset({self.fresh()}) if of is PLACE else frozenset[int]()
        scope[self.target_name(scope, of)] = Variable(found.id, of, memory)
        return scope

    def element(self, scope: Scope) -> Value:
        """One element of a tensor, cut out in one of several ways."""
        name = self.pick(scope, self.random.choice((TENSOR, FLAT))) or self.pick(scope, TENSOR)
        assert name is not None
        source = self.computed(scope[name]) if self.random.random() < 0.5 else scope[name]
        whole = SliceOf(Lit(None), Lit(None), Lit(None))
        index = Lit(self.random.randint(-4, 3))
        if source.type == TENSOR and self.random.random() < 0.5:
            items = self.random.choice(((Lit(0), index), (Lit(-1), index)))
            cut = self.tensor_op("torch.Tensor.__getitem__", (Ref(source.id), Seq(SeqKind.TUPLE, items)), SCALAR)
            return self.host_op("item", (Ref(cut.id),), FLOAT)
        if source.type == TENSOR:
            column = self.tensor_op(
                "torch.Tensor.__getitem__", (Ref(source.id), Seq(SeqKind.TUPLE, (whole, index))), ONE
            )
            cut = self.tensor_op("torch.Tensor.view", (Ref(column.id), Seq(SeqKind.TUPLE, ())), SCALAR)
            return self.host_op("item", (Ref(cut.id),), FLOAT)
        cut = self.tensor_op("torch.Tensor.select", (Ref(source.id), Lit(0), index), SCALAR)
        return self.host_op("item", (Ref(cut.id),), FLOAT)

    def computed(self, source: Variable) -> Variable:
        """What is computed element by element: on the host, if only that reads it."""
        assert isinstance(source.type, TensorType)
        made = source.id
        for _ in range(self.random.randint(1, 3)):
            target = self.random.choice(ELEMENTWISE)
            others = (Lit(self.random.choice((0.1, 3, -2.5, 1e-3))),) if target in ELEMENTWISE[:4] else ()
            made = self.tensor_op(f"torch.Tensor.{target}", (Ref(made), *others), source.type).id
        return Variable(made, source.type)

    def divide(self, scope: Scope, depth: int) -> Scope:
        """A host operation that may raise; its result may never be used."""
        whole = self.pick(scope, INT)
        if whole is None:
            divisor = self.host_op("sub", (Lit(self.random.randint(0, 2)), Lit(1)), INT).id
        else:
            divisor = scope[whole].id
        result = self.host_op(self.random.choice(("floordiv", "mod")), (Lit(7), Ref(divisor)), INT)
        scope[self.target_name(scope, INT)] = Variable(result.id, INT)
        return scope

    def condition(self, scope: Scope) -> ValueId:
        name = self.pick(scope, BOOL)
        if name is None or self.random.random() < 0.4:
            tensor = self.pick(scope, TENSOR)
            assert tensor is not None
            total = self.tensor_op("torch.sum", (Ref(scope[tensor].id),), SCALAR)
            number = self.host_op("item", (Ref(total.id),), FLOAT)
            return self.host_op("gt", (Ref(number.id), Lit(0.0)), BOOL).id
        return scope[name].id

    def branch(self, scope: Scope, depth: int) -> Scope:
        cond, loc = self.condition(scope), self.loc()
        yes, no, join = self.reserve(), self.reserve(), self.reserve()
        self.finish(Branch(cond=cond, if_true=Edge(yes), if_false=Edge(no), loc=loc))
        ends: list[tuple[BlockId, tuple[Value, ...], list[Op], Scope]] = []
        for side in (yes, no):
            self.start(side)
            after = self.body(scope, depth + 1) if self.random.random() < 0.8 else scope
            if self.random.random() < 0.15 and not (side is no and not ends):
                self.finish(self.leave(after))
            else:
                ends.append((self.block, self.params, self.ops, after))
        if self.random.random() < 0.4:
            work = self.random.choice(COMMON)
            names = [
                name for name in ends[0][3] if all(name in after and after[name].type == TENSOR for *_, after in ends)
            ]
            given = [self.random.choice(names) for _ in range(2)]
            for number, (block, params, ops, after) in enumerate(ends):
                self.block, self.params, self.ops = block, params, ops
                ends[number] = block, params, ops, self.common(after, work, given)
        kept = sorted(set.intersection(*(set(after) for *_, after in ends)))
        if self.random.random() < 0.5:
            passed = [name for name in kept if len({after[name].id for *_, after in ends}) > 1]
        else:
            passed = kept
        joined: Scope = {}
        values = []
        for name in kept:
            variables = [after[name] for *_, after in ends]
            memory = frozenset[int]().union(*(variable.memory for variable in variables))
            if name in passed:
                value = self.value(variables[0].type, name)
                values.append(value)
                joined[name] = Variable(value.id, value.type, memory)
            else:
                joined[name] = replace(variables[0], memory=memory)
        for block, params, ops, after in ends:
            self.block, self.params, self.ops = block, params, ops
            self.finish(Jump(edge=Edge(join, tuple(Ref(after[name].id) for name in passed)), loc=loc))
        self.start(join, tuple(values))
        return joined

    def common(self, scope: Scope, work: Sequence[str], given: Sequence[str]) -> Scope:
        """What other ways into the same join do, too: one operation after the other, on variables of these names."""
        first, second = (Ref(scope[name].id) for name in given)
        for target in work:
            args = (first, second) if target in ("torch.add", "torch.minimum") else (first,)
            made = self.tensor_op(target, args, TENSOR)
            first = Ref(made.id)
        return {**scope, "common": Variable(first.id, TENSOR, frozenset({self.fresh()}))}

    def loop(self, scope: Scope, depth: int) -> Scope:
        """`while count < bound [and cond]`; memory of what goes around is lost to the generator, so never written."""
        header, inside, after = self.reserve(), self.reserve(), self.reserve()
        work = self.random.choice((*COMMON, ()))
        names = [name for name in scope if scope[name].type == TENSOR]
        given = [self.random.choice(names) for _ in range(2)]
        scope = self.common(scope, work, given) if work else scope
        passed = sorted(scope)
        self.finish(Jump(edge=Edge(header, (Lit(0), *(Ref(scope[name].id) for name in passed))), loc=self.loc()))
        count = self.value(INT, "count")
        values = [self.value(scope[name].type, name) for name in passed]
        self.start(header, (count, *values))
        looped: Scope = {
            name: Variable(value.id, value.type, frozenset({LOST})) for name, value in zip(passed, values, strict=True)
        }
        go_on = self.host_op("lt", (Ref(count.id), Lit(self.random.randint(0, 3))), BOOL)
        loc = self.loc()
        self.finish(Branch(cond=go_on.id, if_true=Edge(inside), if_false=Edge(after), loc=loc))
        self.start(inside)
        end = self.body(looped, depth + 1)
        end = self.common(end, work, given) if work and self.random.random() < 0.8 else end
        more = self.host_op("add", (Ref(count.id), Lit(1)), INT)
        args = tuple(Ref(end[name].id) for name in passed)
        self.finish(Jump(edge=Edge(header, (Ref(more.id), *args)), loc=loc))
        self.start(after)
        return looped


def forget_dead_names(program: Program) -> Program:
    """The program as the machine writes it: a write names the aliases that are live, and no others."""
    read = find_read_values(program)

    def forget(op: Op) -> Op:
        if not isinstance(op, TensorOp):
            return op
        given = set(op_uses(replace(op, mutates=())))
        return replace(op, mutates=tuple((old, new) for old, new in op.mutates if new.id in read or old in given))

    blocks = tuple(replace(block, ops=tuple(forget(op) for op in block.ops)) for block in program.blocks)
    return replace(program, blocks=blocks)


@pytest.fixture(scope="session")
def generate() -> Callable[[int], Program]:
    """The random program of a seed."""

    def build(seed: int) -> Program:
        program = Generator(random.Random(seed)).program()
        verify(program, after="the generator")
        return program

    return build
