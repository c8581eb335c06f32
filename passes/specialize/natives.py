"""Native code: what may be handed run-time values, what it does to containers, and which exceptions are the model's."""

from __future__ import annotations

import collections
import collections.abc
import inspect
import operator
import types
from collections.abc import Callable
from typing import Any

import numpy
import torch
from torch.overrides import _get_current_function_mode

from dycl.diagnostics import SourceRange, UnsupportedError
from dycl.ir.arrays import ARRAY_FUNCTIONS
from dycl.ir.trees import leaves, map_leaves
from dycl.ir.values import Ref, ScalarKind
from dycl.passes.specialize import objects, tables
from dycl.passes.specialize.arrays import MAKES_TENSORS, Arrays, numpy_name
from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.builtins import has_runtime, is_runtime
from dycl.passes.specialize.effects import Watched, check_pure, is_logging, is_to_be_watched
from dycl.passes.specialize.guard import Guard, is_foreign
from dycl.passes.specialize.identities import check_identities
from dycl.passes.specialize.journal import same_content, undo_content
from dycl.passes.specialize.movers import (
    COMPARE_ITEMS,
    JOINS_LISTS,
    KEYED,
    MOVERS,
    SUBSCRIPTS,
    is_operator,
    keys_of,
    only_holds,
    only_moves,
    only_moves_texts,
    only_stores,
    owner_of,
)
from dycl.passes.specialize.origins import (
    MODELS_FILES,
    MODULE_SWITCHES,
    OWN,
    STDLIB,
    STEPPED_LIBRARY,
    TENSOR_LIBRARY,
    TENSOR_PACKAGES,
    TORCH,
)
from dycl.passes.specialize.recorder import Recorder
from dycl.passes.specialize.signals import CallsBack, Question, Restart, Signal, Unknown
from dycl.passes.specialize.state import Frame
from dycl.passes.specialize.templates import has_python_text
from dycl.passes.specialize.tensortexts import formatted_tensor
from dycl.passes.specialize.textops import text_of_list, truth_of_text
from dycl.passes.specialize.values import (
    KIND_TYPES,
    PLACE_HOLDER,
    Closure,
    Generator,
    RangeIterator,
    RuntimeList,
    RuntimeObject,
    RuntimeRange,
    Scalar,
    SequenceIterator,
    Text,
    TextPart,
)
from dycl.passes.specialize.witnesses import first_line

_CONVERSIONS: dict[str, Callable[[Any], Any]] = {"": lambda value: value, "s": str, "r": repr, "a": ascii}
_MODULE_CHANGES_TEXT = """
    register_buffer register_parameter register_module add_module register_forward_hook register_forward_pre_hook
    to float half double bfloat16 type cpu cuda to_empty zero_grad load_state_dict
"""
_MODULE_CHANGES = frozenset(_MODULE_CHANGES_TEXT.split())
_STAND_INS = (
    Scalar,
    RuntimeList,
    RuntimeObject,
    RuntimeRange,
    SequenceIterator,
    RangeIterator,
    Generator,
    Closure,
    Array,
)


# Operators whose symbolic bools ask what they are before torch sees the other operand.
_OF_TRUTHS = frozenset(
    {operator.eq, operator.ne, operator.and_, operator.or_, operator.xor, operator.iand, operator.ior, operator.ixor}
)


class Natives(Arrays):
    """The part of the machine that runs native code."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.recorder = Recorder(self)  # type: ignore[arg-type]
        self.table_sites: dict[int, Any] = {}  # where dicts and sets were made, by id
        self.keys_taken: dict[Any, int] = collections.defaultdict(int)  # by site: run-time keys that were put in
        self.guilty: set[types.CodeType] = set()  # library code caught deciding something
        self.dropped_effects: list[SourceRange] = []  # where the model prints or logs
        self.operations_before = 0  # the block's length when the current instruction began
        self.results_before = 0  # how many results of host operations were known then

    def native(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of native code, whose calls of torch are recorded."""
        if function in (list, tuple) and len(args) == 1 and type(args[0]) is RuntimeObject:
            return function(objects.items(self, args[0]))  # type: ignore[arg-type]
        check_pure(self, function, args)  # type: ignore[arg-type]
        if (found := self.numpy_call(function, args, kwargs)) is not NotImplemented:
            return found
        if function in MAKES_TENSORS and any(isinstance(leaf, Array) for leaf in leaves(args)):
            return self.made_tensor(function, *args, **kwargs)
        if function in MAKES_TENSORS and args and type(args[0]) is numpy.ndarray:
            return self.tensor_of_static(function, *args, **kwargs)
        if type(function) is types.FunctionType and function.__name__ in _MODULE_CHANGES:
            self._check_module_method(function)
        if is_logging(function):
            self.dropped_effects.append(self.loc())
            return None
        if isinstance(getattr(function, "__self__", None), Text):
            function = getattr(self.plain(function.__self__), function.__name__)
        self._lift_table(function, args)
        args, kwargs = self._native_text(function, args, kwargs)
        if function in _OF_TRUTHS and any(isinstance(arg, torch.Tensor) for arg in args):
            args = tuple(self._truth_tensor(arg) for arg in args)
        if self._is_torch(function, args) or (function in JOINS_LISTS and any(type(arg) is torch.Size for arg in args)):
            args, kwargs = self.native_arguments(self.torch_arguments(function, args, kwargs))
        check_identities(self, function, args)  # type: ignore[arg-type]
        self._check_mover(function, args, kwargs)
        self._check_holders(function, args, kwargs)
        snapshots = self.before_native(function, args, kwargs)
        positions = [(leaf, leaf.index) for leaf in leaves((args, kwargs)) if isinstance(leaf, SequenceIterator)]
        try:
            with self.recorder, self.guarded(() if is_operator(function) else (owner_of(function), args, kwargs)):
                if is_to_be_watched(function):
                    with Watched(self.loc, function):
                        result = function(*args, **kwargs)
                else:
                    result = function(*args, **kwargs)
            if isinstance(result, torch.nn.Module) and getattr(function, "__name__", "") == "__new__":
                self.made_modules[id(result)] = result
        except (TypeError, AttributeError) as error:
            self._check_genuine(error, function, args, kwargs)
            raise
        except (Question, Unknown) as signal:
            self._undo(snapshots, positions)
            if isinstance(function, types.FunctionType) and self._blame(function):
                self._forget_operations()
                raise StepIn("step in") from signal
            if isinstance(signal, CallsBack):
                raise signal.error from None
            if isinstance(signal, Unknown):
                raise UnsupportedError(
                    "DY203",
                    self.loc(),
                    f"{getattr(function, '__name__', function)} decides something that only the run knows ({signal})",
                ) from None
            raise
        except Signal:
            self._undo(snapshots, positions)
            raise
        for container, before in snapshots:
            if self.is_frozen(container) and not same_content(container, before):
                undo_content(container, before)
                self.check_not_frozen(container)
            self._settle_keys(container)
        self._settle_keys(result)
        self.after_native(snapshots)
        frame = self.state.frames[-1]
        if getattr(function, "__name__", "") != "__new__":  # whose result its own class still has to fill
            result = tables.note_table(self, result, (id(frame.code), frame.current))  # type: ignore[arg-type]
        if type(result) in (tuple, list) and any(isinstance(item, torch.SymInt) for item in result):
            items = map(self.wrapped, result)  # the sizes of a `torch.Size`
            result = tuple(items) if type(result) is tuple else list(items)
        if type(result) is str and PLACE_HOLDER in result:
            raise self.native_text_refused()
        return self.static_arrays(result, (id(self.state.frames[-1].code), self.state.frames[-1].current))

    def _check_holders(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Lists, dicts and sets that only the run knows are kept by native code as they are, or not handed to it."""
        moves = only_moves(function, args)
        for leaf in leaves((args, kwargs)):
            if isinstance(leaf, RuntimeList) and not moves:
                self.keep_static(leaf)
            if isinstance(leaf, tables.STAND_INS) and not only_stores(function, leaf, args):
                raise tables.keep_table(self, leaf)  # type: ignore[arg-type]

    def _lift_table(self, function: Any, args: tuple[Any, ...]) -> None:
        """A dict or set whose method is handed keys that only the run knows may have to be one of the run's."""
        owner = getattr(function, "__self__", None)
        if isinstance(owner, (dict, set)) and function.__name__ in KEYED:
            tables.lift(self, owner, *keys_of(function, args))  # type: ignore[arg-type]

    def with_tensor(self, name: str, left: Any, right: Any) -> Any:
        """An operator between a tensor and a run-time number that native code applies (`sum`, `max`)."""
        operands = (self.symbolic(left), self.symbolic(right))
        if _get_current_function_mode() is self.recorder:  # type: ignore[no-untyped-call]
            return getattr(operator, name)(*operands)
        with self.recorder:
            return getattr(operator, name)(*operands)

    def _truth_tensor(self, value: Any) -> Any:
        """A run-time bool as the tensor that counts the same beside another; torch would take the bool apart."""
        if isinstance(value, Scalar) and value.kind is ScalarKind.BOOL:
            return self.recorder.call(torch.full, ((), value), {"dtype": torch.bool})
        return value

    def _undo(self, snapshots: list[tuple[Any, Any]], positions: list[tuple[SequenceIterator, int]]) -> None:
        """An interrupted native call leaves nothing behind: it will run again."""
        self.undo_native(snapshots)
        for iterator, index in positions:
            iterator.index = index

    def _settle_keys(self, container: Any) -> None:
        """The run-time numbers among the keys of a dict or in a set as the numbers that they are on this path."""
        if not isinstance(container, (dict, set)) or not any(has_runtime((key,)) for key in container):
            return
        if isinstance(container, dict):
            items = [(self.hashable(key), item) for key, item in container.items()]
            container.clear()
            container.update(items)
        else:
            elements = [self.hashable(element) for element in container]
            container.clear()
            container.update(elements)

    def keep_static(self, items: RuntimeList) -> None:
        """Take back that a list was generalised, if that is why its items are not known."""
        if self.hints.pin(items.origin):
            raise Restart("the items of a generalised list are needed")

    def hashable(self, value: Any) -> Any:
        """A key of a dict or an element of a set: what decides its place has to be known on this path."""
        if isinstance(value, Scalar):
            return self.concrete(value)
        if type(value) is tuple:
            return map_leaves(self.hashable, value)
        return self.plain(value)

    def guarded(self, values: Any) -> Guard:
        """Refuses native code that calls Python of the model's own: a fork inside would run it twice."""
        return Guard(self._reentry if any(is_foreign(leaf) for leaf in leaves(values)) else None)

    def _reentry(self, code: types.CodeType) -> CallsBack:
        error = UnsupportedError(
            "DY203",
            self.loc(),
            f"native code calls {code.co_qualname}, Python of the model's own",
            hint="call it in Python, outside of the builtin",
        )
        return CallsBack(error)

    def _check_genuine(self, error: Exception, function: Any, args: Any, kwargs: Any) -> None:
        """An error about the type of a stand-in is not the model's: its own words are found, or the call is refused."""
        owner = getattr(function, "__self__", None)
        found = [leaf for leaf in leaves((owner, args, kwargs)) if isinstance(leaf, _STAND_INS)]
        if not found or self._is_torch(function, args):
            return
        if all(isinstance(leaf, Scalar) for leaf in found) and getattr(function, "__module__", "") == "_operator":
            try:
                with self.recorder:
                    function(*map_leaves(_representative, args))
            except type(error) as real:
                raise real from None
        name = getattr(function, "__name__", function)
        words = first_line(error).replace(PLACE_HOLDER, "<")
        raise UnsupportedError("DY203", self.loc(), f"{name} of run-time values ({words})") from None

    def _check_module_method(self, function: types.FunctionType) -> None:
        """Torch's own code would write on the live model, on this path and every other."""
        if getattr(torch.nn.Module, function.__name__, None) is function:
            raise UnsupportedError(
                "DY206",
                self.loc(),
                f"Module.{function.__name__} changes the model while it runs",
                hint="call it before the model is compiled",
            )

    def native_text_refused(self) -> UnsupportedError:
        """Native code reads the characters of a text whose numbers only the run knows."""
        return UnsupportedError(
            "DY204",
            self.loc(),
            "native code reads a text with run-time numbers in it",
            hint="put the text together with f-strings",
        )

    def _is_torch(self, function: Any, args: tuple[Any, ...]) -> bool:
        """Whether torch's own code gets the arguments: it takes its symbolic numbers, not the machine's scalars."""
        owner = getattr(function, "__self__", None)
        if function in SUBSCRIPTS:
            return isinstance(args[0], torch.Tensor)
        if isinstance(owner, torch.Tensor) or any(isinstance(arg, torch.Tensor) for arg in args):
            return not only_holds(function, owner)
        module = getattr(function, "__module__", None)
        return (
            (isinstance(module, str) and module.partition(".")[0] == "torch")
            or owner is torch._C._VariableFunctions
            or (isinstance(owner, types.ModuleType) and owner.__name__.startswith("torch"))
        )

    def _blame(self, function: types.FunctionType) -> bool:
        """Interpret this library function from now on; False if that cannot help."""
        code = function.__code__
        if code in self.guilty or code.co_filename.startswith(("<", OWN)):
            return False
        self.guilty.add(code)
        return True

    def _native_text(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Native code reads characters: run-time text becomes text, one branch for each value of its numbers."""
        is_filled = isinstance(getattr(function, "__self__", None), BaseException) and function.__name__ == "__init__"
        keeps = is_filled or (isinstance(function, type) and issubclass(function, BaseException))
        if keeps or not any(isinstance(leaf, Text) for leaf in leaves((args, kwargs))):
            return args, kwargs
        owner = getattr(function, "__self__", None)
        if isinstance(owner, (list, collections.deque)) and function.__name__ not in COMPARE_ITEMS:
            return args, kwargs
        if isinstance(owner, (dict, set)):
            return (*map(self.plain, args[:1]), *args[1:]), kwargs
        if (function in JOINS_LISTS and isinstance(args[0], (list, tuple))) or only_moves_texts(function, args):
            return args, kwargs
        return map_leaves(self.plain, args), map_leaves(self.plain, kwargs)

    def _check_mover(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Native code may be handed run-time values only if it is known what it does with them."""
        owner = getattr(function, "__self__", None)
        module = getattr(function, "__module__", None) or type(owner).__module__
        if isinstance(owner, torch.Tensor) or (
            isinstance(module, str)
            and module.partition(".")[0] in ("torch", "dycl", "_operator", "operator", *TENSOR_PACKAGES)
        ):
            return
        if (
            isinstance(owner, type(torch._C))
            or owner is torch._C
            or getattr(function, "__objclass__", None) is torch._C.TensorBase
        ):
            return
        if isinstance(owner, (list, dict, set, tuple, frozenset)) or type(owner).__module__ == "collections":
            return
        if isinstance(function, type) and (
            issubclass(function, BaseException) or hasattr(function, "_fields") or self._keeps_fields(function)
        ):
            return
        try:
            if function in MOVERS:
                return
        except TypeError:
            pass
        if isinstance(function, types.FunctionType) and function.__code__.co_filename.startswith("<"):
            return
        if (
            type(owner) is type
            or inspect.ismethoddescriptor(function)
            or isinstance(function, types.MethodWrapperType | types.WrapperDescriptorType)
        ):
            return
        if not has_runtime((args, kwargs)) and not isinstance(owner, (Scalar, RuntimeList, RuntimeObject)):
            return
        if isinstance(function, types.FunctionType) and self._blame(function):
            raise StepIn("step in")
        if module == "collections" or isinstance(owner, Scalar) or not callable(function):
            return  # what cannot be called raises, whatever it is handed
        raise UnsupportedError(
            "DY203",
            self.loc(),
            f"{module}.{getattr(function, '__qualname__', function)} is handed run-time values",
            hint="use the function of torch or of Python's own that does the same",
        )

    def _keeps_fields(self, cls: type) -> bool:
        """A class whose native constructor only stores its arguments."""
        return (
            hasattr(cls, "__dataclass_fields__")
            or getattr(cls, "__init__", None) is object.__init__
            or cls.__module__.partition(".")[0] in ("collections", "types")
        )

    def _forget_operations(self) -> None:
        """Take back what the current instruction has recorded: it will be run in another way."""
        if any(effect is True for _, _, effect in (*self.state.replay, *self.fresh_log)):
            raise UnsupportedError(
                "DY201", self.loc(), "a library function writes into a tensor before it decides something"
            )
        del self.state.block.ops[self.operations_before :]
        for call in list(self.state.facts.results)[self.results_before :]:
            del self.state.facts.results[call]
        self.state.replay, self.fresh_log, self.position = [], [], 0

    def put(self, frame: Frame, dst: Any, value: Any) -> None:
        """Write a result to a register, in the machine's terms."""
        value = frame.regs[dst] = self.wrapped(value)
        if isinstance(dst, str):
            self.name_value(value, dst)

    def wrapped(self, value: Any) -> Any:
        """Torch's symbolic numbers as scalars, stateful weights as the tensors that stand for them."""
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            return self.scalar_of(value)
        if self.hints.adopted:
            self.check_adopted(value)
        if self.stateful_fakes and id(value) in self.stateful_fakes:
            return self.stateful_fakes[id(value)]
        return value

    def keep_text(self, value: str) -> None:
        """Take back that a text was looked up at run time, where its characters are needed one by one.

        What a loop has made longer meanwhile is no such text any more.
        """
        grown = {place for place, _ in self.hints.texts}
        for part in value.parts if isinstance(value, Text) else ():
            origin = part.value.origin if isinstance(part, TextPart) else frozenset()
            if any(position.place in grown for position in origin):
                continue
            if origin and self.hints.pin(origin):
                raise Restart("the characters of a text from a table are needed")

    def plain(self, value: Any) -> Any:
        """A text whose run-time numbers are made concrete."""
        if not isinstance(value, Text):
            return value
        return "".join(part if isinstance(part, str) else self._concrete_part(part) for part in value.parts)

    def _concrete_part(self, part: TextPart) -> str:
        value = self.concrete(part.value)
        return format(_CONVERSIONS[part.conversion](value), part.spec)

    def formatted(self, value: Any, conversion: str, spec: str) -> Any:
        """One field of a text."""
        if isinstance(value, tables.STAND_INS):
            raise tables.keep_table(self, value)  # type: ignore[arg-type]
        if isinstance(value, torch.Tensor):
            return formatted_tensor(self, value, conversion, spec)  # type: ignore[arg-type]
        if isinstance(value, Array):
            value = self.number_for_text(value, conversion, spec)
        if isinstance(value, (torch.SymInt, torch.SymBool)):
            return self.formatted(self.scalar_of(value), conversion, spec)
        if isinstance(value, Scalar):
            return Text.of(TextPart(value, conversion, spec))
        if isinstance(value, Text) and not spec and conversion in ("", "s"):
            return value
        if isinstance(value, BaseException) and not spec:
            return self._text_of_error(value, conversion)
        if has_runtime(value) and not spec and type(value) in (list, tuple, dict, torch.Size):
            return self._text_of_nest(value)
        if isinstance(value, RuntimeList) and not spec and has_python_text(value.element):
            return text_of_list(self, value)  # type: ignore[arg-type]
        if isinstance(value, Text):
            whole = self.text_operand(value)
            if isinstance(whole, Ref):
                return Text.of(TextPart(Scalar(ScalarKind.STR, whole.id), conversion, spec))
        if is_runtime(value) or has_runtime(value):
            raise UnsupportedError(
                "DY203", self.loc(), f"the text of a {type(value).__name__} that holds run-time values"
            )
        with self.guarded(value):
            return format(_CONVERSIONS[conversion](value), spec)

    def _text_of_error(self, error: BaseException, conversion: str) -> Any:
        """The text of an exception whose arguments may be run-time values."""
        method = type(error).__str__
        if not has_runtime(error.args):
            return format(_CONVERSIONS[conversion](error), "")
        if conversion in ("r", "a") or method not in (BaseException.__str__, KeyError.__str__):
            name = type(error).__name__
            raise UnsupportedError("DY203", self.loc(), f"the text of a {name} that holds run-time values")
        if len(error.args) > 1:
            return self.formatted(error.args, "r", "")
        return self.formatted(error.args[0], "r" if method is KeyError.__str__ else "s", "")

    def _text_of_nest(self, value: Any) -> Text:
        """The text of a list, tuple or dict of run-time values."""
        if isinstance(value, dict):
            pairs = value.items()
            fields = [Text.of(self.formatted(key, "r", ""), ": ", self.formatted(item, "r", "")) for key, item in pairs]
        else:
            fields = [self.formatted(item, "r", "") for item in value]
        separated = [part for field in fields for part in (", ", field)][1:]
        comma = "," if type(value) is tuple and len(value) == 1 else ""
        opening, closing = ("[", "]") if type(value) is list else ("(", ")") if type(value) is tuple else ("{", "}")
        if type(value) is torch.Size:
            comma, opening, closing = "", "torch.Size([", "])"
        return Text.of(opening, *separated, comma, closing)

    def truth_of(self, value: Any) -> bool:
        """`bool(value)`."""
        if isinstance(value, Scalar):
            return self.truth(value)
        if isinstance(value, Text):
            return truth_of_text(self, value)  # type: ignore[arg-type]
        if isinstance(value, RuntimeList):
            return self.truth(self.host("ne", self.list_length(value), 0))
        if isinstance(value, RuntimeObject):
            return objects.truth(self, value)  # type: ignore[arg-type]
        if isinstance(value, RuntimeRange):
            return self.truth(value.start < value.stop) if value.step > 0 else self.truth(value.start > value.stop)
        if isinstance(value, (Generator, Closure)):
            return True
        with self.recorder, self.guarded((value,)):
            return bool(value)

    def is_steppable(self, function: Any) -> bool:
        """Whether calls of this function are interpreted."""
        if type(function) is not types.FunctionType:
            return False
        code = function.__code__
        if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
            raise UnsupportedError("DY102", self.loc(), f"{function.__qualname__} is asynchronous")
        file = code.co_filename
        if code in self.guilty or file in MODELS_FILES or function in MODULE_SWITCHES:
            return True
        if file.startswith(OWN):
            return False
        if file.startswith(TORCH) or f"np.{numpy_name(function)}" in ARRAY_FUNCTIONS:
            return False
        if file.startswith(("<", STDLIB)) and "site-packages" not in file:
            return file.startswith(STEPPED_LIBRARY)
        return TENSOR_LIBRARY.match(file) is None


class StepIn(Signal):
    """The instruction is to be run again: its callee will be interpreted now."""


def _representative(leaf: Any) -> Any:
    return KIND_TYPES[leaf.kind](1) if isinstance(leaf, Scalar) else leaf
