"""Recursion as residual procedures: a call is memoised like a join point.

Before: `def fold(node): return self.cell(fold(node.left), fold(node.right)) if node.left else self.leaf(node)`, which
would be unrolled for ever. After: a procedure of one block argument, the node, that invokes itself.

A function is recursive once a call of it finds itself on the stack with arguments of the same canonical form. From the
next attempt on its calls are invocations: the callee's frame alone, with what it is handed and the state of the model,
is a state like that of a join, and a form seen before is a procedure made before. What a procedure gives back is found
by fixpoint: the ways it ends in one attempt (a base case first) are what its callers go on with in the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dycl.diagnostics import SourceRange, UnsupportedError
from dycl.frontend.code import Code
from dycl.ir.nodes import Invoke, Reply
from dycl.ir.values import ArrayType, Lit, Operand, ProcedureId, ScalarKind, ScalarType, Value
from dycl.passes.specialize.catching import sees
from dycl.passes.specialize.exits import Exit
from dycl.passes.specialize.outlines import Outline, Outliner, Rebuilder, fits, leaf_types, merged
from dycl.passes.specialize.residual import RawBlock
from dycl.passes.specialize.signals import Abandoned
from dycl.passes.specialize.state import Frame, JournalEntry, State
from dycl.passes.specialize.values import RuntimeObject, Scalar
from dycl.passes.specialize.walker import Walker

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

MAX_SAME = 16  # activations of a function that differ in numbers alone before it is taken for recursive
MAX_WAYS = 12  # ways in which one procedure ends


@dataclass(slots=True, eq=False)
class Procedure:
    """A procedure of this attempt; `ways` are those that the attempt started with."""

    number: int  # the same in all attempts
    index: int
    code: Code
    block: RawBlock
    ways: tuple[Outline, ...]
    errors: list[SourceRange] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The function's name in the source."""
        return self.code.name


@dataclass(frozen=True, slots=True)
class Invocation:
    """Who invokes whom, and whether an exception would be caught there."""

    caller: Procedure | None
    callee: Procedure
    is_guarded: bool
    loc: SourceRange


def note_recursion(machine: Machine, frame: Frame) -> bool:
    """Whether the call of a frame that is about to be entered is one of a procedure; remembers that it should be."""
    if id(frame.code) in machine.hints.recursive:
        return True
    before = [other for other in machine.state.frames if other.code is frame.code]
    if not before or before[-1].forks == machine.state.forks:
        return False
    key, skeleton = _forms(machine, frame)
    frame.forms = (key, skeleton)
    same = [other for other in before if other.forms is not None and other.forms[1] == skeleton]
    if any(other.forms[0] == key for other in same) or len(same) >= MAX_SAME:
        machine.hints.recursive.add(id(frame.code))
        raise machine.restart("a recursive function becomes a procedure")
    return False


def _forms(machine: Machine, frame: Frame) -> tuple[Any, Any]:
    """What a call looks like: exactly, and but for its numbers."""
    walker = Walker(machine, _entry_state(machine, frame))
    walker.state()
    tokens = list(walker.key)
    for slot in walker.slots:
        tokens[slot.token] = ("#", slot.kind)
    return tuple(walker.key), tuple(tokens)


def _entry_state(machine: Machine, frame: Frame) -> State:
    """The state of a procedure as it begins: the callee's frame alone, and all that outlives a call."""
    state = machine.state
    entry = State()
    callee = Frame(frame.code, frame.globals)
    callee.regs, callee.cells = frame.regs, frame.cells
    entry.frames = [callee]
    entry.given, entry.contexts = _given(machine, frame), dict(machine.state.contexts)
    entry.journal, entry.facts = state.journal, state.facts
    entry.current, entry.aliases, entry.block = dict(state.current), dict(state.aliases), state.block
    return entry


def _has_identity(value: Any) -> bool:
    return not (value is None or isinstance(value, (bool, int, float, str, Scalar, RuntimeObject)))


def _given(machine: Machine, frame: Frame) -> tuple[Any, ...]:
    """What a callee is handed that has an identity: it stays known until the end, to be compared with what is then."""
    cells = tuple(frame.cells[name] for name in sorted(frame.cells))
    values = (frame.regs[name] for name in sorted(frame.regs))
    return (tuple(value for value in values if _has_identity(value)), cells)


# ---------------------------------------------------------------- calls


def invoke(machine: Machine, frame: Frame) -> None:
    """Call a procedure in the place of a function; its result goes where the frame's would have gone."""
    state = machine.state
    procedure, values = _invocation(machine, frame)
    if not procedure.ways:
        raise Abandoned  # nothing is known to come back
    way, first = 0, 0
    if len(procedure.ways) > 1:
        way, first = _chosen(machine, values[0], len(procedure.ways)), 1
    for outline in procedure.ways[:way]:
        first += len(leaf_types(outline))
    outline = procedure.ways[way]
    leaves = values[first : first + len(leaf_types(outline))]
    rebuilder = Rebuilder(machine, _given(machine, frame), leaves)
    result, journal, weights = rebuilder.build(outline)
    for (target, kind, name), value in journal:
        entry = state.journal[(target, kind, name)]
        machine.record(JournalEntry(entry.target, kind, name, value, entry.original, entry.slot))
    for fake, value in zip(machine.stateful_fakes.values(), weights, strict=True):
        machine.replace_content(fake, value)
    caller = state.frames[-1]
    machine.put(caller, frame.result, result)


def _invocation(machine: Machine, frame: Frame) -> tuple[Procedure, tuple[Value, ...]]:
    """The procedure and the results of this invocation, emitted unless the instruction runs again."""
    state = machine.state
    entry = _entry_state(machine, frame)
    point = ("procedure", id(frame.code))
    form = machine.canonical(entry, point)
    call = ("invoke", id(frame.code))
    found, out = machine.replayed(call)  # after the arguments, which may have been computed just now
    if found:
        return out  # type: ignore[no-any-return]
    if any(isinstance(machine.values.types[param], ArrayType) for param in form.params):
        raise UnsupportedError(
            "DY208",
            machine.loc(),
            f"an array of numpy is handed to {frame.code.name}, which is recursive",
            hint="hand on a tensor",
        )
    procedure = machine.procedures.get(form.key)
    if procedure is None:
        machine.note_variant(form, point)
        block = machine.new_block()
        block.params = machine.param_names(form, point)
        number = machine.hints.procedure_numbers.setdefault(form.key, len(machine.hints.procedure_numbers))
        ways = tuple(machine.hints.replies.get(number, ()))
        procedure = Procedure(number, len(machine.procedures), frame.code, block, ways)
        machine.procedures[form.key] = procedure
        start = form.state
        start.block, start.procedure = block, procedure
        start.expected = Walker(machine, start).walk(start.given, False)
        machine.waiting.append(start)
    guarded = bool(state.received) or any(sees(outer) for outer in state.frames)
    if (guarded or is_guarded(machine, state)) and id(frame.code) not in machine.hints.guarded:
        machine.hints.guarded.add(id(frame.code))
        raise machine.restart("exceptions of a procedure would be caught")
    machine.invocations.append(Invocation(state.procedure, procedure, guarded, machine.loc()))
    types = [leaf for outline in procedure.ways for leaf in leaf_types(outline)]
    if len(procedure.ways) > 1:
        types.insert(0, ScalarType(ScalarKind.INT))
    values = tuple(machine.value(machine.values.new(of)) for of in types)
    machine.emit(Invoke(procedure=ProcedureId(procedure.index), args=form.args, results=values, loc=machine.loc()))
    machine.state.facts.results = {
        call: result for call, result in machine.state.facts.results.items() if call[0] != "attr_now"
    }
    machine.log(call, (procedure, values), has_effect=True)
    return procedure, values


def _chosen(machine: Machine, tag: Value, count: int) -> int:
    """The way in which the procedure ended, on this path."""
    scalar = Scalar(ScalarKind.INT, tag.id)
    call = ("tag", tag.id)
    found, out = machine.replayed(call)
    if found:
        scalar = out
    else:
        machine._give_symbol(scalar)
        machine.bound_symbol(scalar.expr, 0, count - 1)
        machine.log(call, scalar)
    return next((way for way in range(count - 1) if machine.truth(machine.host("eq", scalar, way))), count - 1)


def is_guarded(machine: Machine, state: State) -> bool:
    """Whether a caller of the procedure that a path is in may catch what leaves it."""
    return state.procedure is not None and id(state.procedure.code) in machine.hints.guarded


# ---------------------------------------------------------------- ends


def reply(machine: Machine, state: State, value: Any) -> None:
    """A procedure returns."""
    procedure = state.procedure
    machine.left.append(state)
    outliner = Outliner(machine, state, state.given, state.expected)
    if outliner.is_changed():
        raise UnsupportedError(
            "DY208",
            machine.loc(),
            f"{procedure.name}, which is recursive, changes a list, a dict or an object that it is handed",
            hint="return what is new, and put it together in the caller",
        )
    outline = outliner.outline(value)
    way = next((index for index, known in enumerate(procedure.ways) if fits(outline, known)), None)
    if way is None:
        _widen(machine, procedure, outline)
        state.block.end = Reply(values=(), loc=machine.loc())
        return
    operands: list[Operand] = [Lit(way)] if len(procedure.ways) > 1 else []
    for index, known in enumerate(procedure.ways):
        operands += outliner.operands(known) if index == way else [Lit(None)] * len(leaf_types(known))
    state.block.end = Reply(values=tuple(operands), loc=machine.loc())


def _widen(machine: Machine, procedure: Procedure, outline: Outline) -> None:
    """The procedure ends in another way than was known: the next attempt knows it."""
    ways = machine.hints.replies.setdefault(procedure.number, [])
    machine.is_provisional = True
    if any(fits(outline, known) for known in ways):
        return
    for index, known in enumerate(ways):
        both = merged(outline, known)
        if both is not None:
            ways[index] = both
            return
    if len(ways) >= MAX_WAYS:
        raise UnsupportedError(
            "DY207", machine.loc(), f"{procedure.name}, which is recursive, returns values of too many different kinds"
        )
    ways.append(outline)


def abandon(machine: Machine, state: State) -> None:
    """End a path at a call of which nothing is known to come back."""
    error = RecursionError("maximum recursion depth exceeded")
    machine.exits.append(Exit(state.block, state, None, error, machine.loc()))
    state.frames = []


def check_errors(machine: Machine) -> None:
    """Refuse an exception that leaves a procedure where a caller would catch it."""
    raising = {procedure.number for procedure in machine.procedures.values() if procedure.errors}
    grown = True
    while grown:
        more = {i.caller.number for i in machine.invocations if i.caller is not None and i.callee.number in raising}
        grown = not more <= raising
        raising |= more
    for invocation in machine.invocations:
        if invocation.is_guarded and invocation.callee.number in raising:
            raise UnsupportedError(
                "DY208",
                invocation.loc,
                f"an exception that leaves {invocation.callee.name}, which is recursive, would be caught here",
                hint="return a value instead of raising",
            )
