"""The abstract machine: an online partial evaluator for lowered Python over fake tensors and run-time scalars.

It runs one path at a time. Static code just runs. Where an instruction asks what the facts of the path do not decide,
the operations recorded so far stay in the block, the state is copied, one copy learns *true* and the other *false*, and
both run the same instruction again, its first operations answered from the replay log.
"""

from __future__ import annotations

import logging
import random
import types
import warnings
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UNKNOWN, InternalError, SourceRange, UnsupportedError
from dycl.frontend.lower import lower_function
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import Branch, Edge
from dycl.ir.program import Tunable
from dycl.ir.values import Lit, ScalarKind
from dycl.passes.specialize import (
    constructors,  # noqa: F401  (registers its models)
    instructions,
    objects,
    procedures,
    protocols,
    pymodels,
    reshaping,
    searching,  # noqa: F401  (registers its models)
    tables,
)
from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.boundaries import forks_inside, is_boundary
from dycl.passes.specialize.builtins import Interpret, class_of
from dycl.passes.specialize.calls import Calls
from dycl.passes.specialize.catching import sees
from dycl.passes.specialize.closing import check_closed, note_resumed, note_waiting
from dycl.passes.specialize.contexts import check_taken_back
from dycl.passes.specialize.effects import check_attribute
from dycl.passes.specialize.exits import Exit
from dycl.passes.specialize.faults import as_said, is_own_fault
from dycl.passes.specialize.generators import GENERATOR_METHODS
from dycl.passes.specialize.handled import UNKEPT, check_kept
from dycl.passes.specialize.hints import Hints
from dycl.passes.specialize.lists import LIST_METHODS
from dycl.passes.specialize.natives import StepIn
from dycl.passes.specialize.origins import MODELS_FILES, STDLIB, TORCH
from dycl.passes.specialize.relations import want_relations
from dycl.passes.specialize.signals import Abandoned, CallsBack, Drain, Impossible, Question, Restart, Signal, Unknown
from dycl.passes.specialize.state import Frame, State
from dycl.passes.specialize.values import STAND_INS, Active, Closure, Generator, RuntimeList, RuntimeObject, Scalar
from dycl.passes.specialize.walker import Walker
from dycl.passes.specialize.weights import WeightNames

# What the machine's stand-ins answer as the objects they stand for do.
_KNOWN_ATTRIBUTES: dict[type, tuple[str, ...]] = {
    int: ("real", "numerator", "conjugate", "imag", "denominator", "bit_length"),
    bool: ("real", "numerator", "conjugate", "imag", "denominator", "bit_length"),
    float: ("real", "conjugate", "imag", "is_integer"),
    range: ("start", "stop", "step"),
    types.FunctionType: ("__name__", "__qualname__", "__call__", "__dict__"),
    types.GeneratorType: (),
}


# Fuzz mode: how often an instruction is preceded by a needless fork, and how many there are at most.
NEEDLESS_RATE = 0.02
MAX_NEEDLESS_ON_PATH = 3
MAX_NEEDLESS = 20


class Machine(Calls):
    """One attempt at specialising one method of one model."""

    host_functions = HOST_FUNCTIONS

    def __init__(
        self,
        model: torch.nn.Module,
        hints: Hints,
        weight_names: WeightNames,
        tunables: tuple[str, ...] = (),
        fuzz: int | None = None,
    ) -> None:
        super().__init__(hints, weight_names)
        self.model = model
        self.exits: list[Exit] = []
        self.tunables: dict[str, Tunable] = {}
        self._tunable_names = frozenset(tunables)
        self._random = random.Random(fuzz) if fuzz is not None else None
        self._needless = 0
        self.procedures: dict[Any, procedures.Procedure] = {}
        self.invocations: list[procedures.Invocation] = []
        self.waiting: list[State] = []  # bodies of procedures, to be run
        self.left: list[State] = []  # as paths have left procedures
        self.is_provisional = False
        self.forks = 0

    # ------------------------------------------------------------ where

    def loc(self) -> SourceRange:
        """The innermost place in source that is neither torch's nor the standard library's."""
        frames = self.state.frames
        for frame in reversed(frames):
            file = frame.code.file
            if (not file.startswith((TORCH, STDLIB)) and file not in MODELS_FILES) or (
                "site-packages" in file and not file.startswith(TORCH)
            ):
                return frame.loc
        return frames[-1].loc if frames and frames[-1].code.file not in MODELS_FILES else UNKNOWN

    def restart(self, reason: str) -> Restart:
        """A signal to begin again with the hints as they are now."""
        return Restart(reason)

    def native_object_refused(self, value: RuntimeObject) -> UnsupportedError:
        """Native code compares or hashes an object of the caller's."""
        cls = self.schemas.class_of(value.schema)
        return UnsupportedError(
            "DY203",
            self.loc(),
            f"an input, a {cls.__qualname__}, is compared or hashed by native code",
            hint="compare with `is`, and keep what belongs to an object in its attributes",
        )

    def name_value(self, value: Any, register: str) -> None:
        """Remember which source variable holds a value."""
        depth = len(self.state.frames)
        if isinstance(value, (Scalar, RuntimeList, RuntimeObject)) and value.vid >= 0:
            self.values.name(value.vid, register, depth)
        elif isinstance(value, Array):
            self.values.name(self.current_vid(value.fake), register, depth)
        elif isinstance(value, FakeTensor):
            self.values.name(self.current_vid(value), register, depth)

    # ------------------------------------------------------------ driver

    def begin(self, state: State, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Push the first frame."""
        self.state = state
        while hasattr(function, "__wrapped__") and not self.is_steppable(function):
            function = function.__wrapped__
        if type(function) is types.FunctionType and id(lower_function(function)) in self.hints.recursive:
            self.enter(pymodels.start, (function, args, kwargs), {}, None)
        else:
            self.enter(function, args, kwargs, None)

    def run_all(self, work: list[State]) -> None:
        """Run the paths to their ends, and those that fork off them."""
        Active.machine = self
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # on fake tensors it returns weights where there are none
        noise = logging.getLogger("torch._subclasses.fake_tensor")  # it logs what is asked on purpose, and answered
        was_disabled, noise.disabled = noise.disabled, True
        try:
            with warnings.catch_warnings(), torch.no_grad(), self.fake:
                warnings.simplefilter("ignore")
                while work or self.waiting:
                    self.run(work.pop() if work else self.waiting.pop(), work)
            self.check_postponed(is_over=True)
        finally:
            noise.disabled = was_disabled
            torch.backends.mha.set_fastpath_enabled(fast)
            Active.machine = None
            self.switch({})

    def run(self, state: State, work: list[State]) -> None:
        """Run one path to its end."""
        self.state = state
        self.switch(state.journal)
        while state.frames:
            frame = state.frames[-1]
            ends = state.is_split and is_boundary(frame.code, frame.ip)
            may_join = state.may_join or ends or frame.code.joins[frame.ip]
            is_new = state.is_dirty or (may_join and self.is_general_point(state))
            if may_join and is_new and not state.replay and not state.has_asked:
                if self.join(state):
                    return
                state.is_split = False
                frame = state.frames[-1]
            state.may_join = False
            if self._random is not None and not state.replay and self._random.random() < NEEDLESS_RATE:
                self._needless_fork(state, work)
            if not self._step(state, frame, work):
                return

    def _step(self, state: State, frame: Frame, work: list[State]) -> bool:
        """Run one instruction; False if the path ends here."""
        self.steps += 1
        self.check_postponed()
        frame.current = frame.ip
        instruction = frame.code.instructions[frame.ip]
        self.operations_before, self.results_before = len(state.block.ops), len(state.facts.results)
        self.position, self.fresh_log, self.consumed, self.reshaped = 0, [], [], []
        frame.ip += 1
        try:
            instructions.HANDLERS[type(instruction)](self, frame, instruction)
        except Question as question:
            frame.ip = frame.current
            state.replay = state.replay[: self.position] + self.fresh_log
            self._fork(state, question.cond, work)
            return True
        except StepIn:
            frame.ip = frame.current
            return True
        except Abandoned:
            procedures.abandon(self, state)
            return False
        except Drain as drain:
            frame.ip = frame.current
            state.replay = state.replay[: self.position] + self.fresh_log
            self._drain(drain.generator)
            return True
        except Impossible as impossible:
            self.exits.append(Exit(state.block, state, None, RuntimeError(impossible.what), self.loc()))
            state.frames, state.replay, state.has_asked = [], [], False
            return False
        except CallsBack as signal:
            raise signal.error from None
        except Unknown as unknown:
            raise UnsupportedError(
                "DY201", self.loc(), f"torch decides something inside that only the run knows ({unknown})"
            ) from None
        except Signal:
            raise
        except (UnsupportedError, InternalError, MemoryError, RecursionError):
            raise
        except Exception as error:
            if is_own_fault(error):
                raise InternalError(f"specialize: {type(error).__name__}: {error} at {self.loc()}") from error
            state.replay, state.has_asked = [], False
            return self._unwind(state, as_said(error))
        state.replay, state.has_asked = [], False
        for generator in self.consumed:
            generator.buffer = []
        if self.reshaped:
            reshaping.settle(self, state)
        return bool(state.frames)

    # ------------------------------------------------------------ forks

    def _fork(self, state: State, cond: Scalar, work: list[State]) -> None:
        """Go on with `cond` true; the other side, with `cond` false, waits in the work list."""
        places = {position.place for position in self.origin_of(cond)}
        if len(places) > 1 and want_relations(self.hints, places):
            raise Restart("it matters that integers move together from the second round of a loop on")
        self.forks += 1
        cond_vid = self.vid_of(cond)
        other = Walker(self, state).state()
        other.block, then = self.new_block(), self.new_block()
        state.block.end = Branch(cond=cond_vid, if_true=Edge(then.id), if_false=Edge(other.block.id), loc=self.loc())  # type: ignore[arg-type]
        for side, outcome in ((state, True), (other, False)):
            side.forks += 1
            side.is_dirty = side.has_asked = True
            side.is_split = side.is_split or forks_inside(side.frames[-1].instruction)
            side.facts = side.facts.copy()
            side.facts.bools[cond_vid] = outcome
            if cond.expr is not None:
                side.facts.learn(cond.expr, outcome)
        state.block = then
        state.current, state.aliases = dict(state.current), dict(state.aliases)
        work.append(other)

    def _needless_fork(self, state: State, work: list[State]) -> None:
        """Fuzz mode: a legal decision that nothing depends on. It must never change a result."""
        if state.fuzz is None or state.needless >= MAX_NEEDLESS_ON_PATH or self._needless >= MAX_NEEDLESS:
            return
        assert self._random is not None
        self._needless += 1
        state.needless += 1
        self.position, self.fresh_log = 0, []
        frame = state.frames[-1]
        frame.current = frame.ip
        asked = self.host("gt", state.fuzz, self._random.gauss(0.0, 1.0))
        self._fork(state, asked, work)

    # ------------------------------------------------------------ frames

    def leave(self, frame: Frame, value: Any) -> None:
        """A function returns."""
        state = self.state
        if len(state.frames) == 1:
            check_taken_back(self)
            check_closed(self)
            if state.procedure is not None:
                procedures.reply(self, state, value)
            else:
                self.exits.append(Exit(state.block, state, value, None, self.loc()))
            state.frames = []
            return
        state.frames.pop()
        state.may_join = state.forks != frame.forks
        caller = state.frames[-1]
        generator = frame.owner
        if generator is None:
            self.put(caller, frame.result, value)
            return
        generator.is_done = True
        if generator.buffer is not None:
            return
        self._exhausted(caller, value)

    def _exhausted(self, caller: Frame, value: Any) -> None:
        from dycl.frontend.code import ForIter

        if isinstance(caller.instruction, ForIter):
            caller.ip = caller.instruction.exhausted
            if caller.instruction.value is not None:
                caller.regs[caller.instruction.value] = value
            return
        raise StopIteration(*(() if value is None else (value,)))

    def yield_value(self, frame: Frame, value: Any, dst: str) -> None:
        """A generator yields to its consumer."""
        frame.regs[dst] = None
        generator = frame.owner
        if generator.buffer is not None:
            generator.buffer.append(value)
            return
        self.state.frames.pop()
        note_waiting(self.state, generator)
        self.state.may_join = self.state.forks != frame.forks
        self.put(self.state.frames[-1], frame.result, value)

    def resume_generator(self, generator: Generator, dst: str) -> None:
        """Run a generator to its next yield."""
        if generator.is_done:
            raise StopIteration
        generator.is_started = True
        note_resumed(self.state, generator)
        generator.frame.result = dst
        generator.frame.forks = self.state.forks
        self.state.frames.append(generator.frame)

    def _drain(self, generator: Generator) -> None:
        """Run a generator to its end; native code then takes all its elements at once."""
        generator.buffer = []
        if not generator.is_done:
            self.state.frames.append(generator.frame)

    def _unwind(self, state: State, error: BaseException) -> bool:
        """Route an exception to its handler; False if it leaves the program."""
        from dycl.frontend.code import ForIter

        error.__traceback__ = error.__context__ = None
        is_first = True
        raised_at = self.loc()
        while state.frames:
            frame = state.frames[-1]
            if not is_first and isinstance(error, StopIteration) and isinstance(frame.instruction, ForIter):
                frame.ip = frame.instruction.exhausted
                return True
            handler = frame.code.handlers[frame.current]
            if handler is not None:
                frame.pending = error
                frame.ip = handler
                state.may_join = True
                return True
            if len(state.frames) == 1:
                check_taken_back(self)
                check_closed(self)
                self.exits.append(Exit(state.block, state, None, error, raised_at))
                if state.procedure is not None:
                    state.procedure.errors.append(raised_at)
                state.frames = []
                return False
            if frame.owner is not None:
                frame.owner.is_done = True
                if isinstance(error, StopIteration):
                    error = RuntimeError("generator raised StopIteration")
            state.frames.pop()
            is_first = False
        return False

    def may_catch(self) -> bool:
        """Whether an exception raised here would be seen by the model: by a handler, or by what state is kept."""
        state = self.state
        is_caught = procedures.is_guarded(self, state) or any(sees(frame) for frame in state.frames)
        weights = self.stateful_fakes.values()
        is_kept = bool(state.journal or state.received)
        return is_caught or is_kept or any(weight._dycl_root in state.current for weight in weights)  # type: ignore[attr-defined]

    # ------------------------------------------------------------ attributes

    def property_getter(self, target: Any, name: str) -> Any:
        """The function behind a property that has to be interpreted."""
        own = self.attribute_method(target, name)
        return own.function if own is not None and len(own.args) == 1 else None

    def attribute_method(self, target: Any, name: str) -> Interpret | None:
        """What computes an attribute in Python of the model's own: a property, a descriptor, `__getattr__`."""
        return protocols.attribute_method(self, target, name)

    def setting_method(self, target: Any, name: str, value: Any) -> Interpret | None:
        """What sets an attribute in Python of the model's own: `__setattr__`, a property, a descriptor."""
        return protocols.setting_method(self, target, name, value)

    def own_method(self, value: Any, *names: str) -> Any:
        """The first of these special methods that the value's class has, if it is the model's own."""
        return protocols.own_method(self, value, *names)

    def truth_method(self, value: Any) -> Any:
        """The model's own method that decides the truth of an object."""
        return protocols.truth_method(self, value)

    def text_method(self, value: Any, conversion: str, spec: str) -> Interpret | None:
        """The model's own method that makes the text of an object."""
        return protocols.text_method(self, value, conversion, spec)

    def load_attribute(self, target: Any, name: str) -> Any:
        """target.name."""
        if name == "__class__":
            return class_of(target)
        if isinstance(target, RuntimeObject):
            return objects.load_attribute(self, target, name)
        if isinstance(target, RuntimeList):
            if target.kind is tuple and not hasattr((), name):
                raise AttributeError(f"'tuple' object has no attribute {name!r}")
            if name not in LIST_METHODS or not hasattr(target.kind, name):
                self.keep_static(target)
                raise UnsupportedError("DY203", self.loc(), f"{target.kind.__name__}.{name} of run-time length")
            return types.MethodType(LIST_METHODS[name], target)
        if isinstance(target, tables.STAND_INS) and not hasattr(target, name) and hasattr(class_of(target), name):
            raise tables.keep_table(self, target)
        if isinstance(target, Array):
            return self.array_attribute(target, name)
        if isinstance(target, STAND_INS):
            return self._attribute_of_stand_in(target, name)
        if isinstance(target, BaseException) and name in UNKEPT:
            check_kept(self, name)
        if self._tunable_names and (tunable := self._tunable(target, name)) is not None:
            return tunable
        check_attribute(self, target, name)
        with self.recorder, self.guarded((target,)):
            value = getattr(target, name)
        if isinstance(target, types.ModuleType) and self.is_written_global(vars(target), name):
            return self.wrapped(value)
        if isinstance(target, (type, types.ModuleType)) or any(
            vars(cls).get(name) is value for cls in type(target).__mro__
        ):
            self.remember_old(value)
        return self.wrapped(value)

    def _attribute_of_stand_in(self, target: Any, name: str) -> Any:
        """An attribute of what stands for a Python object: that object's, not the stand-in's."""
        stands_for = class_of(target)
        if name in _KNOWN_ATTRIBUTES.get(stands_for, ()) or (isinstance(target, Closure) and name in vars(target)):
            return getattr(target, name)
        if isinstance(target, Generator) and name in GENERATOR_METHODS:
            return types.MethodType(GENERATOR_METHODS[name], target)
        if not hasattr(stands_for, name):
            raise AttributeError(f"{stands_for.__name__!r} object has no attribute {name!r}")
        raise UnsupportedError("DY203", self.loc(), f"{stands_for.__name__}.{name} of a run-time value")

    def _tunable(self, target: Any, name: str) -> Any:
        path = self.weight_names.paths.get(id(target))
        if path is None or name not in vars(target) or id(target) not in self.weight_names.objects:
            return None
        full = f"{path}.{name}" if path else name
        if full not in self._tunable_names:
            return None
        value = vars(target)[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UnsupportedError(
                "DY204",
                self.loc(),
                f"the tunable {full!r} is a {type(value).__name__}",
                hint="only int and float attributes can be tunable",
            )
        kind = ScalarKind.INT if isinstance(value, int) else ScalarKind.FLOAT
        self.tunables.setdefault(full, Tunable(full, kind, value, self.loc()))
        call = ("tunable", full)
        found, out = self.replayed(call)
        if found:
            return out
        scalar = self.host_op("tunable", (Lit(full),), kind)
        if kind is ScalarKind.INT:
            self._give_symbol(scalar)
        self.log(call, scalar)
        return scalar
