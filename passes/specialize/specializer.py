"""From a live model to its program: `specialize` runs the abstract machine until its hints no longer change."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dycl.diagnostics import UNKNOWN, DyclError, InternalError, SourceRange, UnsupportedError, UsageError
from dycl.ir.dimensions import STATIC, DynamicInputs
from dycl.ir.environment import Environment
from dycl.ir.nodes import Raise, Return, Write
from dycl.ir.program import Dimension, Method, Program
from dycl.ir.substitution import substitute_operand
from dycl.ir.values import Operand, Ref, ValueId, Weight, operand_parts
from dycl.ir.writes import without_idle_writes
from dycl.passes.specialize.adoption import adopted_entries, reachable
from dycl.passes.specialize.exits import Exit, OutputBuilder
from dycl.passes.specialize.finish import Finisher
from dycl.passes.specialize.hints import Hints
from dycl.passes.specialize.inputs import Call, MethodExample, MethodInputs
from dycl.passes.specialize.machine import Machine
from dycl.passes.specialize.procedures import check_errors
from dycl.passes.specialize.residual import RawEntry, RawProcedure
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.slots import state_slots
from dycl.passes.specialize.state import JournalEntry, State
from dycl.passes.specialize.tables import note_table
from dycl.passes.specialize.values import Text
from dycl.passes.specialize.variants import Canonical
from dycl.passes.specialize.walker import Walker
from dycl.passes.specialize.weights import WeightNames

MAX_ATTEMPTS = 200
_ENTRY = ("entry",)
_OF_VALUES = frozenset({"DY203", "DY204", "DY213", "DY214"})  # refusals that texts kept as they are known may save


@dataclass(frozen=True, slots=True)
class Specialization:
    """The residual program of a model's methods, what its names stand for, and what it took to make it."""

    program: Program
    environment: Environment
    seconds: float
    attempts: int
    steps: int
    dropped_effects: tuple[SourceRange, ...]


_LOG = logging.getLogger(__name__)


def specialize(
    model: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    method: str = "forward",
    tunable: tuple[str, ...] = (),
    fuzz: int | None = None,
    rng: str = "refuse",
    dynamic: DynamicInputs = STATIC,
    examples: Sequence[Call] = (),
    others: Sequence[MethodExample] = (),
) -> Specialization:
    """The program of `model.method`, and of `others` beside it, for inputs like these: see `MethodExample`.

    Raises UnsupportedError where a method cannot be compiled soundly. `fuzz` seeds needless forks.
    `rng`: random operations are refused, or drawn by the "host".
    """
    methods = (MethodExample(method, args, kwargs or {}, dynamic, examples), *others)
    start = time.perf_counter()
    hints = Hints(draws=rng == "host")
    names = WeightNames(model)
    places: dict[Any, JournalEntry] = {}
    for attempt in range(1, MAX_ATTEMPTS + 1):
        run = _Attempt(model, methods, tunable, fuzz, hints, names, places)
        try:
            program = run.program()
        except Restart as restart:
            _LOG.debug("attempt %d: %s", attempt, restart)
            continue
        except (DyclError, InternalError) as error:
            is_about_text = isinstance(error, DyclError) and error.code in _OF_VALUES
            if not run.machine.postponed and not (is_about_text and hints.pin_texts()):
                raise
            _LOG.debug("attempt %d: %s, then %s", attempt, run.machine.postponed or "texts are kept", error)
            continue
        finally:
            run.machine.switch({})
            run.machine.env.part()
        environment = Environment(dict(names.weights), dict(names.modules), run.classes)
        seconds = time.perf_counter() - start
        return Specialization(
            program, environment, seconds, attempt, run.machine.steps, tuple(run.machine.dropped_effects)
        )
    raise InternalError(f"specialize: no fixpoint after {MAX_ATTEMPTS} attempts")


class _Attempt:
    """One run of the machine over all paths, with the hints of the earlier ones."""

    def __init__(
        self,
        model: torch.nn.Module,
        methods: Sequence[MethodExample],
        tunable: tuple[str, ...],
        fuzz: int | None,
        hints: Hints,
        names: WeightNames,
        places: dict[Any, JournalEntry],
    ) -> None:
        names.forget_used()
        self.machine = Machine(model, hints, names, tunable, fuzz)
        self.model, self.fuzz = model, fuzz
        self.hints, self.names, self.places = hints, names, places
        self.classes: dict[str, type] = {}
        self.outputs = OutputBuilder(self.machine, self.classes)
        self.entries: list[RawEntry] = []  # one for each method, kind by kind of state
        self._kinds: dict[Any, int] = {}  # of state, by canonical form
        self.methods = [MethodInputs(self.machine, model, example, self.outputs) for example in methods]

    # ------------------------------------------------------------ entries and exits

    def program(self) -> Program:
        """The finished program; raises Restart where the hints have grown."""
        machine = self.machine
        self._stateful_tensors()
        start = State()
        start.aliases = machine.state.aliases
        start.facts = machine.state.facts
        machine.state = start
        stand_ins: dict[ValueId, Operand] = {}

        def stand_in(tensor: torch.Tensor) -> Any:
            made = self._stand_in(tensor)
            stand_ins[machine.current_vid(made)] = Weight(self.names.name(tensor))
            return made

        def note(made: Any, slot: str) -> Any:
            return note_table(machine, made, ("adopted", slot))

        for entry in adopted_entries(self.names, self.hints.adopted, stand_in, note):
            self.places[entry.key] = start.journal[entry.key] = entry
        for key, entry in self.places.items():
            if key in start.journal:
                continue
            start.journal[key] = JournalEntry(
                entry.target, entry.kind, entry.name, entry.original, entry.original, entry.slot
            )
        first = self._canonical_entry(start)
        weights = stand_ins | {
            machine.current_vid(tensor): Weight(self.names.name(self.hints.stateful[key]))
            for key, tensor in machine.stateful_fakes.items()
        }
        initial = tuple(substitute_operand(arg, weights) for arg in first.args)
        self._enter(first)
        done, filled = 0, set(self.hints.filled)
        while done < len(machine.exits):
            exits, done = machine.exits[done:], len(machine.exits)
            self._note_places([leaving.state for leaving in exits])
            for leaving in exits:
                self._close(leaving)
        if self.hints.filled != filled:  # the ends of earlier paths do not show what a later call has written
            raise Restart("the model writes into a tensor that it is given")
        if all(isinstance(leaving.block.end, Raise) for leaving in machine.exits):
            first_error = machine.exits[0]
            raise UnsupportedError(
                "DY214",
                first_error.loc,
                f"the model always raises {type(first_error.error).__name__}: {_words(first_error.error)}",
                hint="check the example inputs",
            )
        machine.check_postponed(is_over=True)  # what is learned where a path ends, and nothing runs after it
        for method in self.methods:
            method.freedom.rename_values(machine.values.types)
            method.freedom.rename_sizes(machine.blocks)
        finisher = Finisher(machine.blocks, machine.values)
        tunables = tuple(machine.tunables[name] for name in sorted(machine.tunables))
        program = finisher.finish(
            type(self.model).__name__,
            tuple(Method(method.name, method.freedom.rename(method.signature)) for method in self.methods),
            self.entries,
            initial,
            tunables,
            machine.schemas.all(),
            tuple(RawProcedure(part.name, part.block) for part in machine.procedures.values()),
        )
        return without_idle_writes(dataclasses.replace(program, dimensions=self._dimensions()))

    def _dimensions(self) -> tuple[Dimension, ...]:
        """The named sizes of all methods: a name means the same range everywhere."""
        found: dict[str, Dimension] = {}
        for dimension in (each for method in self.methods for each in method.freedom.dynamic.dimensions):
            known = found.setdefault(dimension.name, dimension)
            if known != dimension:
                raise UsageError(
                    "DY505",
                    UNKNOWN,
                    f"the dimension {known.name} has two ranges, {known.interval} and {dimension.interval}",
                )
        return tuple(found.values())

    def _settle_procedures(self) -> None:
        """Begin again if the procedures end in ways, or write state, that their callers did not know of."""
        machine = self.machine
        self._note_places(machine.left)
        if machine.is_provisional:
            raise Restart("a procedure ends in another way")
        check_errors(machine)

    def _stateful_tensors(self) -> None:
        machine = self.machine
        for tensor in self.hints.stateful.values():
            machine.stateful_fakes[id(tensor)] = self._stand_in(tensor)

    def _stand_in(self, tensor: torch.Tensor) -> Any:
        """A fake tensor for one of the model's that the run writes or replaces."""
        machine = self.machine
        with torch.no_grad():
            made = machine.fake.from_tensor(tensor.detach().clone(), static_shapes=True)
        machine.adopt(made, (self.names.state_name(tensor) or "state").rpartition(".")[2])
        return made

    def _journal_of(self, state: State) -> State:
        """The part of a state that outlives the call."""
        kept = State()
        kept.journal = self._kept_writes(state)
        kept.facts, kept.current, kept.aliases, kept.block = state.facts, state.current, state.aliases, state.block
        return kept

    def _kept_writes(self, state: State) -> dict[Any, JournalEntry]:
        """The writes that a later call can see: not those to an object that the model has let go of."""
        if all(_is_always_seen(entry) for entry in state.journal.values()):
            return dict(state.journal)
        self.machine.switch(state.journal)
        found = reachable(self.model)
        return {
            key: entry for key, entry in state.journal.items() if _is_always_seen(entry) or id(entry.target) in found
        }

    def _canonical_entry(self, state: State) -> Canonical:
        machine = self.machine
        kept = self._journal_of(state)
        machine.state = kept
        with torch.no_grad(), machine.fake:
            form = machine.canonical(kept, _ENTRY, is_entry=True)
        if form.key not in self._kinds:
            machine.note_variant(form, _ENTRY, min(machine.count_rows(form), 1))
        return form

    def _enter(self, form: Canonical) -> int:
        """Specialise the methods for calls that find the model in this state."""
        machine = self.machine
        kind = self._kinds[form.key] = len(self._kinds)
        form.state.fuzz = None
        blocks = [machine.new_block() for _ in self.methods]
        form.state.block = blocks[0]
        slots = self._slots(form.state)
        states = [Walker(machine, form.state).state() for _ in self.methods[1:]]
        for method, block in zip(self.methods, blocks, strict=True):
            block.params = (*method.vids, *form.params)
            self.entries.append(RawEntry(block, tuple(method.vids), form.params, slots))
        for method, block, state in zip(self.methods, blocks, [form.state, *states], strict=True):
            state.block = block
            state.aliases |= method.aliases
            for vid in method.vids:  # what an earlier call has written to its inputs is nothing to this one
                state.current.pop(vid, None)
            machine.state = state
            method.freedom.enter()
            self._start(method, state)
        self._settle_procedures()  # a later call may be the first that comes to one
        return kind

    def _slots(self, state: State) -> tuple[tuple[str, Operand], ...]:
        """What the model keeps in this state, as its reader sees it."""
        machine = self.machine
        machine.state = state
        machine.switch(state.journal)  # a container shows what is in the containers that it holds
        slots = tuple(
            slot for entry in state.journal.values() for slot in state_slots(self.outputs, entry.slot, entry.value)
        )
        replaced = {entry.slot for entry in state.journal.values()} | {name for name, _ in slots}
        slots += tuple(
            (name, Ref(machine.current_vid(tensor)))
            for key, tensor in machine.stateful_fakes.items()
            if (name := self.names.state_name(self.hints.stateful[key]) or "") not in replaced
        )
        # what still is the model's own tensor is no value of the state: a deployment reads it where it always was
        return tuple(slot for slot in slots if not any(isinstance(part, Weight) for part in operand_parts(slot[1])))

    def _start(self, method: MethodInputs, state: State) -> None:
        machine = self.machine
        function = method.function
        machine.switch(state.journal)
        with torch.no_grad(), machine.fake:
            state.fuzz = self._fuzz_number(method) if self.fuzz is not None else None
            args, kwargs = method.begin(state)
            if inspect.ismethod(function):
                machine.begin(state, function.__func__, (self.model, *args), kwargs)
            else:
                machine.begin(state, function, args, kwargs)
        machine.run_all([state])

    def _fuzz_number(self, method: MethodInputs) -> Any:
        """A run-time number that needless forks may ask about."""
        machine = self.machine
        if not method.tensors:
            return None
        with machine.recorder:
            # between -1 and 1 whatever the inputs are, so that both sides of a needless fork are taken
            return machine.host("math.atan", machine.recorder.item(torch.sum(method.tensors[0])))

    def _close(self, leaving: Exit) -> None:
        """End a path: bind its value and its state to the entry where the next call starts."""
        machine = self.machine
        state = leaving.state
        machine.state = state
        state.block = leaving.block
        with torch.no_grad(), machine.fake:
            for entry in state.journal.values():
                entry.value = machine.put_together(entry.value)
        form = self._canonical_entry(state)
        machine.state = state
        kind = self._kinds.get(form.key)
        with torch.no_grad(), machine.fake:
            writes = self._writes(leaving)
            if leaving.error is None:
                value = self.outputs.operand(leaving.value, "the result", leaving.loc)
                leaving.block.end = Return(value=value, state=form.args, writes=writes, loc=leaving.loc)
            else:
                name, args = self.outputs.error(leaving.error, leaving.loc)
                leaving.block.end = Raise(class_name=name, args=args, state=form.args, writes=writes, loc=leaving.loc)
        if kind is None:
            kind = self._enter(form)
        if kind:
            leaving.block.end = dataclasses.replace(leaving.block.end, resume=kind)

    def _writes(self, leaving: Exit) -> tuple[Write, ...]:
        """What the caller sees written at the end of a path."""
        place = next(iter(leaving.state.received), None)
        method = next((method for method in self.methods if place is not None and method.name == place[0]), None)
        return () if method is None else method.writes(leaving)

    def _note_places(self, states: list[State]) -> None:
        """Attributes that some path writes are state from the start."""
        news = {key: entry for state in states for key, entry in state.journal.items() if key not in self.places}
        if news:
            self.places.update(news)
            raise Restart("the model writes an attribute")


def _words(error: BaseException | None) -> str:
    """What an exception says, as far as that is known."""
    words = error.args[0] if error is not None and len(error.args) == 1 else ""
    return words.shown() if isinstance(words, Text) else str(error)


def _is_always_seen(entry: JournalEntry) -> bool:
    return isinstance(entry.target, torch.nn.Module) or entry.kind == "global"
