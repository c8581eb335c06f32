"""From a live model to its program: `specialize` runs the abstract machine until its hints no longer change."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UNKNOWN, InternalError, SourceRange, UnsupportedError
from dycl.ir.dimensions import STATIC, DynamicInputs, add_defaults
from dycl.ir.environment import Environment
from dycl.ir.graph import operand_parts, substitute_operand
from dycl.ir.nodes import (
    InputLeaf,
    Lit,
    Mapping,
    ObjectType,
    Operand,
    Param,
    ParamKind,
    Program,
    Raise,
    Record,
    RecordKind,
    Ref,
    Return,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    ValueId,
    Weight,
)
from dycl.ir.structures import find_structures, is_structure, map_arguments
from dycl.ir.trees import leaves
from dycl.passes.specialize.adoption import adopted_entries, reachable
from dycl.passes.specialize.exits import Exit, OutputBuilder
from dycl.passes.specialize.finish import Finisher
from dycl.passes.specialize.freedom import Freedom, FreeNumber
from dycl.passes.specialize.hints import Hints
from dycl.passes.specialize.joins import Canonical
from dycl.passes.specialize.machine import Machine
from dycl.passes.specialize.procedures import check_errors
from dycl.passes.specialize.residual import RawEntry, RawProcedure
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.slots import state_slots
from dycl.passes.specialize.state import JournalEntry, State
from dycl.passes.specialize.values import RuntimeObject, Scalar, Text
from dycl.passes.specialize.weights import WeightNames

MAX_ATTEMPTS = 200
_ENTRY = ("entry",)


@dataclass(frozen=True, slots=True)
class Specialization:
    """The residual program of a method, what its names stand for, and what it took to make it."""

    program: Program
    environment: Environment
    seconds: float
    attempts: int
    steps: int
    dropped_effects: tuple[SourceRange, ...]


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
    examples: Sequence[tuple[tuple[Any, ...], dict[str, Any]]] = (),
) -> Specialization:
    """The program of `model.method` for inputs like these: any values of the tensors, the same everything else.

    Objects in them may have any structure of which every part occurs in the inputs or in the further `examples`.
    Raises UnsupportedError where the method cannot be compiled soundly. `fuzz` seeds needless forks.
    `rng`: random operations are refused, or drawn by the "host".
    """
    start = time.perf_counter()
    hints = Hints(draws=rng == "host")
    names = WeightNames(model)
    places: dict[Any, JournalEntry] = {}
    for attempt in range(1, MAX_ATTEMPTS + 1):
        run = _Attempt(model, args, kwargs or {}, method, tunable, fuzz, hints, names, places, dynamic, examples)
        try:
            program = run.program()
        except Restart:
            continue
        finally:
            run.machine.switch({})
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
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        method: str,
        tunable: tuple[str, ...],
        fuzz: int | None,
        hints: Hints,
        names: WeightNames,
        places: dict[Any, JournalEntry],
        dynamic: DynamicInputs,
        examples: Sequence[tuple[tuple[Any, ...], dict[str, Any]]],
    ) -> None:
        names.forget_used()
        self.machine = Machine(model, hints, names, tunable, fuzz)
        self.model, self.method, self.fuzz = model, method, fuzz
        self.hints, self.names, self.places = hints, names, places
        self.classes: dict[str, type] = {}
        self.outputs = OutputBuilder(self.machine, self.classes)
        self.entries: list[RawEntry] = []
        self._entry_index: dict[Any, int] = {}
        self._inputs: list[torch.Tensor] = []
        self.freedom = Freedom(self.machine, dynamic)
        self._draw_schemas([(args, kwargs), *examples])
        self._make_inputs(args, kwargs)

    # ------------------------------------------------------------ inputs

    def _make_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        machine = self.machine
        self._input_vids: list[Any] = []

        def fake(leaf: Any) -> Any:
            if isinstance(leaf, FreeNumber):
                value, vid = self.freedom.number(leaf)
                self._input_vids.append(vid)
                return value
            if is_structure(leaf):
                return self._make_object(leaf)
            if not isinstance(leaf, torch.Tensor):
                return leaf
            made = self.freedom.tensor(leaf)
            with torch.no_grad():
                tensor = machine.fake.from_tensor(leaf.detach(), static_shapes=True) if made is None else made
            if tensor.untyped_storage()._cdata in machine.input_storages:
                raise UnsupportedError(
                    "DY213", UNKNOWN, "two inputs share their memory", hint="pass clones as examples"
                )
            machine.input_storages.add(tensor.untyped_storage()._cdata)
            self._input_vids.append(machine.adopt(tensor))
            self.freedom.adopted(leaf, self._input_vids[-1])
            self._inputs.append(tensor)
            return tensor

        function = getattr(self.model, self.method)
        try:
            bound = inspect.signature(function).bind(*args, **kwargs)
        except TypeError as error:
            raise UnsupportedError("DY213", UNKNOWN, f"the example inputs do not fit {self.method}: {error}") from None
        given = {id(leaf) for leaf in leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        if len(given) != sum(isinstance(leaf, torch.Tensor) for leaf in leaves((args, kwargs))):
            raise UnsupportedError("DY213", UNKNOWN, "the same tensor is passed twice", hint="pass clones as examples")
        add_defaults(bound, self.freedom.dynamic)
        given_arguments = self.freedom.mark(bound.arguments)
        # by parameter order, which is the order in which the host receives them
        arguments = {name: map_arguments(fake, value) for name, value in given_arguments.items()}
        for value in arguments.values():
            machine.remember_inputs(value)
        for name, value in arguments.items():
            for leaf in leaves(value):
                if isinstance(leaf, FakeTensor):
                    machine.values.names.setdefault(machine.current_vid(leaf), name)
                elif isinstance(leaf, (Scalar, RuntimeObject)):
                    machine.values.names.setdefault(leaf.vid, name)
        bound.arguments.update(arguments)
        self.call_args, self.call_kwargs = bound.args, bound.kwargs
        self.signature = self._signature(inspect.signature(function), arguments)

    def _draw_schemas(self, examples: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> None:
        """The schemas of the objects in all examples, and of what the model is known to write into them."""
        signature = inspect.signature(getattr(self.model, self.method))
        self._objects: dict[int, str] = {}
        for args, kwargs in examples:
            try:
                arguments = signature.bind(*args, **kwargs).arguments
            except TypeError:
                continue  # said with the inputs
            for name, value in arguments.items():
                for base, found in find_structures(value, name):
                    self._objects[id(found)] = self.machine.schemas.add(found, base)
        for write in self.hints.writes:
            self.machine.schemas.write(write)

    def _make_object(self, value: Any) -> RuntimeObject:
        machine = self.machine
        schema = self._objects.get(id(value)) or machine.schemas.add(value, "input")
        found = RuntimeObject(schema, machine.values.new(ObjectType(schema)))
        self._input_vids.append(found.vid)
        return found

    def _signature(self, signature: inspect.Signature, arguments: dict[str, Any]) -> tuple[Param, ...]:
        counter = iter(range(len(self._input_vids)))
        params: list[Param] = []
        for name, parameter in signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                items = arguments.get(name, ())
                params += [
                    Param(name=f"{name}_{i}", kind=ParamKind.POSITIONAL_ONLY, spec=self._spec(item, counter))
                    for i, item in enumerate(items)
                ]
                continue
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                extra = arguments.get(name, {})
                params += [
                    Param(name=key, kind=ParamKind.KEYWORD_ONLY, spec=self._spec(item, counter))
                    for key, item in extra.items()
                ]
                continue
            kinds: dict[Any, ParamKind] = {
                inspect.Parameter.POSITIONAL_ONLY: ParamKind.POSITIONAL_ONLY,
                inspect.Parameter.KEYWORD_ONLY: ParamKind.KEYWORD_ONLY,
            }
            kind = kinds.get(parameter.kind, ParamKind.POSITIONAL_OR_KEYWORD)
            is_given = name in arguments
            value = arguments[name] if is_given else parameter.default
            spec = self._spec(value, counter) if is_given or _is_literal(value) else Lit(None)
            optional = parameter.default is not inspect.Parameter.empty and (
                not is_given or _same_literal(value, parameter.default)
            )
            params.append(Param(name=name, kind=kind, spec=spec, optional=optional))
        return tuple(params)

    def _spec(self, value: Any, counter: Any) -> Operand:
        if isinstance(value, torch.Tensor):
            return InputLeaf(next(counter), self.machine.tensor_type(value))
        if isinstance(value, Scalar):
            return InputLeaf(next(counter), ScalarType(value.kind))
        if isinstance(value, Text):
            return InputLeaf(next(counter), ScalarType(ScalarKind.STR))
        if isinstance(value, RuntimeObject):
            return InputLeaf(next(counter), ObjectType(value.schema))
        if _is_literal(value):
            return Lit(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            fields = tuple((name, self._spec(item, counter)) for name, item in zip(value._fields, value, strict=True))
            return Record(RecordKind.NAMEDTUPLE, self.outputs.class_name(type(value)), fields)
        if isinstance(value, (tuple, list)):
            kind = SeqKind.LIST if isinstance(value, list) else SeqKind.TUPLE
            return Seq(kind, tuple(self._spec(item, counter) for item in value))
        if type(value) is dict:
            return Mapping(tuple((Lit(key), self._spec(item, counter)) for key, item in value.items()))
        raise UnsupportedError(
            "DY213",
            UNKNOWN,
            f"an input is a {type(value).__module__}.{type(value).__qualname__}",
            hint="pass tensors, numbers, text, lists, tuples or dicts",
        )

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

        for entry in adopted_entries(self.names, self.hints.adopted, stand_in):
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
        self._settle_procedures()
        done = 0
        while done < len(machine.exits):
            exits, done = machine.exits[done:], len(machine.exits)
            self._note_places([leaving.state for leaving in exits])
            for leaving in exits:
                self._close(leaving)
        if all(isinstance(leaving.block.end, Raise) for leaving in machine.exits):
            first_error = machine.exits[0]
            raise UnsupportedError(
                "DY214",
                first_error.loc,
                f"the model always raises {type(first_error.error).__name__}: {first_error.error}",
                hint="check the example inputs",
            )
        self.freedom.rename_values(machine.values.types)
        self.freedom.rename_sizes(machine.blocks)
        finisher = Finisher(machine.blocks, machine.values)
        tunables = tuple(machine.tunables[name] for name in sorted(machine.tunables))
        signature = self.freedom.rename(self.signature)
        program = finisher.finish(
            type(self.model).__name__,
            self.method,
            signature,
            self.entries,
            initial,
            tunables,
            machine.schemas.all(),
            tuple(RawProcedure(part.name, part.block) for part in machine.procedures.values()),
        )
        return dataclasses.replace(program, dimensions=self.freedom.dynamic.dimensions)

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
        if form.key not in self._entry_index:
            machine.note_variant(form, _ENTRY, 0 if not machine.rows[form.skeleton] else 1)
        return form

    def _enter(self, form: Canonical) -> int:
        """Specialise the method for calls that find the model in this state."""
        machine = self.machine
        index = self._entry_index[form.key] = len(self.entries)
        state = form.state
        state.fuzz = None
        machine.state = state
        block = machine.new_block()
        state.block = block
        block.params = (*self._input_vids, *form.params)
        for storage, roots in machine_inputs(machine, self._inputs).items():
            state.aliases[storage] = roots
        self.freedom.enter()
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
        slots = tuple(slot for slot in slots if not any(isinstance(part, Weight) for part in operand_parts(slot[1])))
        self.entries.append(RawEntry(block, tuple(self._input_vids), form.params, slots))
        self._start(state)
        return index

    def _start(self, state: State) -> None:
        machine = self.machine
        function = getattr(self.model, self.method)
        machine.switch(state.journal)
        with torch.no_grad(), machine.fake:
            state.fuzz = self._fuzz_number() if self.fuzz is not None else None
            function = function.__func__ if inspect.ismethod(function) else function
            args = (
                self.call_args
                if not inspect.ismethod(getattr(self.model, self.method))
                else (self.model, *self.call_args)
            )
            machine.begin(state, function, args, self.call_kwargs)
        machine.run_all([state])

    def _fuzz_number(self) -> Any:
        """A run-time number that needless forks may ask about."""
        machine = self.machine
        if not self._inputs:
            return None
        with machine.recorder:
            # between -1 and 1 whatever the inputs are, so that both sides of a needless fork are taken
            return machine.host("math.atan", machine.recorder.item(torch.sum(self._inputs[0])))

    def _close(self, leaving: Exit) -> None:
        """End a path: bind its value and its state to the entry where the next call starts."""
        machine = self.machine
        state = leaving.state
        machine.state = state
        state.block = leaving.block
        form = self._canonical_entry(state)
        machine.state = state
        index = self._entry_index.get(form.key)
        with torch.no_grad(), machine.fake:
            if leaving.error is None:
                value = self.outputs.operand(leaving.value, "the result", leaving.loc)
                leaving.block.end = Return(value=value, resume=0, state=form.args, loc=leaving.loc)
            else:
                name, args = self.outputs.error(leaving.error, leaving.loc)
                leaving.block.end = Raise(class_name=name, args=args, resume=0, state=form.args, loc=leaving.loc)
        if index is None:
            index = self._enter(form)
        if index:
            leaving.block.end = dataclasses.replace(leaving.block.end, resume=index)

    def _note_places(self, states: list[State]) -> None:
        """Attributes that some path writes are state from the start."""
        news = {key: entry for state in states for key, entry in state.journal.items() if key not in self.places}
        if news:
            self.places.update(news)
            raise Restart("the model writes an attribute")


def machine_inputs(machine: Machine, inputs: list[torch.Tensor]) -> dict[int, tuple[Any, ...]]:
    """The alias table of the inputs: each has its memory to itself."""
    return {tensor.untyped_storage()._cdata: (tensor._dycl_root,) for tensor in inputs}  # type: ignore[attr-defined]


def _is_always_seen(entry: JournalEntry) -> bool:
    return isinstance(entry.target, torch.nn.Module) or entry.kind == "global"


def _is_literal(value: Any) -> bool:
    return value is None or value is Ellipsis or type(value) in (bool, int, float, str)


def _same_literal(value: Any, default: Any) -> bool:
    return _is_literal(value) and type(value) is type(default) and value == default


__all__ = ["ScalarKind", "Specialization", "specialize"]
