"""Models of the builtins that insist on concrete numbers, call back, or make native iterators.

A model takes the machine and the call's arguments. It returns the result, `Interpret` to have a function stepped into,
or NotImplemented where the native builtin is right.
"""

from __future__ import annotations

import collections
import collections.abc
import functools
import itertools
import math
import operator
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UnsupportedError
from dycl.ir.nodes import ScalarKind
from dycl.ir.trees import leaves
from dycl.passes.specialize import pyiterators, pylists, pymodels, pyorders, pytables, scalars
from dycl.passes.specialize.arrayvalue import Array, class_of_array
from dycl.passes.specialize.textops import length_of_text, number_of_text
from dycl.passes.specialize.values import (
    KIND_TYPES,
    Active,
    Closure,
    Generator,
    RangeIterator,
    RuntimeList,
    RuntimeObject,
    RuntimeRange,
    Scalar,
    SequenceIterator,
    Text,
)

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


@dataclass(frozen=True, slots=True)
class Interpret:
    """Step into this function in the place of the builtin."""

    function: Any
    args: tuple[Any, ...]


Model = Callable[..., Any]
MODELS: dict[Any, Model] = {}


def model(*functions: Any) -> Callable[[Model], Model]:
    """Register a model for builtins."""

    def register(function: Model) -> Model:
        for native in functions:
            MODELS[native] = function
        return function

    return register


def is_runtime(value: Any) -> bool:
    """Whether a leaf is known at run time only."""
    return isinstance(
        value,
        (
            *(Scalar, FakeTensor, RuntimeList, RuntimeObject, Array, Text),
            *(torch.SymInt, torch.SymFloat, torch.SymBool),
            *(pytables.RunDict, pytables.RunSet, pytables.RunView),
        ),
    )


def has_runtime(value: Any) -> bool:
    """Whether anything in a nest is known at run time only."""
    return any(is_runtime(leaf) for leaf in leaves(value))


def _number(machine: Machine, value: Any) -> Any:
    """A tensor of one element as its number; anything else as it is."""
    if isinstance(value, torch.Tensor):
        return machine.recorder.item(value)
    if isinstance(value, Array):
        return machine.array_number(value, "an array")
    return value


# ---------------------------------------------------------------- conversions


@model(int, float)
def _convert(machine: Machine, *args: Any, native: type, **kwargs: Any) -> Any:
    if len(args) != 1 or kwargs:
        return NotImplemented
    if not isinstance(args[0], (Scalar, torch.Tensor, Array)):
        own = machine.own_method(args[0], *(("__int__", "__index__") if native is int else ("__float__", "__index__")))
        if isinstance(args[0], Text):
            return number_of_text(machine, native.__name__, args[0])
        return NotImplemented if own is None else Interpret(pymodels.converted, (native, own, args[0]))
    return machine.convert(native, _number(machine, args[0]))


@model(bool)
def _bool(machine: Machine, *args: Any, native: type, **kwargs: Any) -> Any:
    if len(args) != 1:
        return NotImplemented
    value = args[0]
    if isinstance(value, torch.Tensor):
        value = machine.recorder.item(value) if value.numel() == 1 else machine.recorder.truth(value)
    if isinstance(value, Array):
        value = machine.array_number(value, "the truth value of an array")
    if isinstance(value, Scalar):
        return value if value.kind is ScalarKind.BOOL else machine.host("ne", value, 0)
    own = machine.truth_method(value)
    return Interpret(pymodels.truth, (own, value)) if own is not None else machine.truth_of(value)


@model(torch.Tensor.tolist, FakeTensor.tolist)
def _tolist(machine: Machine, tensor: torch.Tensor, *, native: Any) -> Any:
    """One operation of the host; the fake tensor's own method would go through the elements."""
    return machine.recorder.tolist(tensor)


@model(str, repr)
def _text(machine: Machine, *args: Any, native: type, **kwargs: Any) -> Any:
    if len(args) != 1 or kwargs:
        return NotImplemented
    conversion = "s" if native is str else "r"
    own = machine.text_method(args[0], conversion, "")
    return own if own is not None else machine.formatted(args[0], conversion, "")


@model(format)
def _format(machine: Machine, value: Any, spec: str = "", *, native: Any) -> Any:
    own = machine.text_method(value, "", spec)
    return own if own is not None else machine.formatted(value, "", machine.plain(spec))


@model(*[getattr(math, name) for name in dir(math) if callable(getattr(math, name)) and not name.startswith("_")])
def _math(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    if not any(isinstance(arg, (Scalar, torch.Tensor, Array)) for arg in args):
        return NotImplemented
    if kwargs or f"math.{native.__name__}" not in machine.host_functions:
        raise UnsupportedError("DY203", machine.loc(), f"math.{native.__name__} of run-time numbers")
    return machine.host(f"math.{native.__name__}", *[_number(machine, arg) for arg in args])


@model(abs, round, divmod, pow)
def _arithmetic(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    if native is divmod and any(isinstance(arg, Scalar) for arg in args):
        if scalars.result_kind("mod", args) is ScalarKind.FLOAT and not machine.truth(machine.host("ne", args[1], 0)):
            return divmod(1.0, 0.0)  # which says what is wrong
        quotient = args[0] // args[1]
        return (quotient, args[0] % args[1])
    return NotImplemented


# ---------------------------------------------------------------- asking about objects


@model(len)
def _len(machine: Machine, value: Any, *, native: Any) -> Any:
    if isinstance(value, torch.Tensor):
        if value.dim() == 0:
            raise TypeError("len() of a 0-d tensor")
        return value.shape[0]
    if isinstance(value, RuntimeList):
        return machine.list_length(value)
    if isinstance(value, Array):
        return machine.array_length(value)
    if isinstance(value, Scalar) and value.kind is ScalarKind.STR:
        raise UnsupportedError("DY204", machine.loc(), "the length of a run-time text")
    if isinstance(value, RuntimeObject):
        length = machine.own_method(value, "__len__")
        return Interpret(length, (value,)) if length is not None else machine.object_length(value)
    if isinstance(value, RuntimeRange):
        size = (value.stop - value.start + value.step - 1) // value.step
        return size if machine.truth(size > 0) else 0
    if isinstance(value, Text):
        return length_of_text(machine, value)
    length = getattr(type(value), "__len__", None)
    return Interpret(length, (value,)) if machine.is_steppable(length) else NotImplemented


def is_runtime_tuple(key: Any) -> bool:
    """Whether a key is a tuple of which the run knows a part, or how long it is."""
    return (type(key) is tuple and has_runtime(key)) or (isinstance(key, RuntimeList) and key.kind is tuple)


@model(isinstance)
def _isinstance(machine: Machine, value: Any, classes: Any, *, native: Any) -> Any:
    if type(value) is classes:
        return True
    stand_in = value.kind if isinstance(value, RuntimeList) else _STAND_INS.get(type(value))
    if isinstance(value, Scalar):
        stand_in = KIND_TYPES[value.kind]
    if isinstance(value, Array):
        stand_in = class_of_array(value)
    if isinstance(value, (RuntimeObject, pytables.RunDict)):
        stand_in = class_of(value)
    return NotImplemented if stand_in is None else issubclass(stand_in, classes)


@model(type)
def _type(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    return class_of(args[0]) if len(args) == 1 else NotImplemented


_STAND_INS: dict[type, type] = {
    RuntimeRange: range,
    Generator: types.GeneratorType,
    Closure: types.FunctionType,
    pytables.RunSet: set,
    pytables.RunView: type({}.items()),
}


def class_of(value: Any) -> type:
    """The class that the model would see."""
    if isinstance(value, Scalar):
        return KIND_TYPES[value.kind]
    if type(value) is Array:
        return class_of_array(value)
    if type(value) is RuntimeObject:
        return Active.get().schemas.class_of(value.schema)
    if type(value) is pytables.RunDict:
        return value._kind  # type: ignore[no-any-return]
    if type(value) is FakeTensor:
        return torch.Tensor
    if type(value) is RuntimeList:
        return value.kind
    return str if type(value) is Text else _STAND_INS.get(type(value), type(value))


@model(callable)
def _callable(machine: Machine, value: Any, *, native: Any) -> Any:
    return NotImplemented


@model(getattr)
def _getattr(machine: Machine, target: Any, name: Any, *default: Any, native: Any) -> Any:
    name = machine.plain(name)
    own = machine.attribute_method(target, name)
    if own is not None:
        return Interpret(pymodels.attribute_or, (own, default[0])) if default else own
    try:
        return machine.load_attribute(target, name)
    except AttributeError:
        if default:
            return default[0]
        raise


@model(hasattr)
def _hasattr(machine: Machine, target: Any, name: Any, *, native: Any) -> Any:
    name = machine.plain(name)
    own = machine.attribute_method(target, name)
    if own is not None:
        return Interpret(pymodels.has_attribute, (own,))
    try:
        machine.load_attribute(target, name)
    except AttributeError:
        return False
    return True


@model(setattr)
def _setattr(machine: Machine, target: Any, name: Any, value: Any, *, native: Any) -> Any:
    if isinstance(target, RuntimeObject):
        machine.store_object_attribute(target, machine.plain(name), value)
        return None
    own = machine.setting_method(target, machine.plain(name), value)
    if own is not None:
        return Interpret(pymodels.effect, (own,))
    return machine.store_attribute(target, machine.plain(name), value)


@model(delattr)
def _delattr(machine: Machine, target: Any, name: Any, *, native: Any) -> Any:
    machine.delete_attribute(target, machine.plain(name))


@model(globals)
def _globals(machine: Machine, *, native: Any) -> Any:
    return machine.state.frames[-1].globals


@model(locals, vars)
def _locals(machine: Machine, *args: Any, native: Any) -> Any:
    if args:
        return NotImplemented
    return {name: value for name, value in machine.state.frames[-1].regs.items() if not name.startswith("%")}


# ---------------------------------------------------------------- effects


@model(print, warnings.warn)
def _print(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    machine.dropped_effects.append(machine.loc())


@model(torch.set_grad_enabled, torch.autograd.set_grad_enabled)
def _set_grad_enabled(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    return torch.no_grad()


@model(
    torch.overrides.has_torch_function,
    torch.overrides.has_torch_function_unary,
    torch.overrides.has_torch_function_variadic,
    torch._C._has_torch_function,
    torch._C._has_torch_function_unary,
    torch._C._has_torch_function_variadic,
)
def _has_torch_function(machine: Machine, *args: Any, native: Any) -> Any:
    """Torch's Python asks it first of all; what would answer are the machine's own modes, which are not the model's."""
    return False


@model(torch.is_grad_enabled)
def _is_grad_enabled(machine: Machine, *, native: Any) -> Any:
    return False


# ---------------------------------------------------------------- iteration


@model(range)
def _range(machine: Machine, *args: Any, native: Any) -> Any:
    numbers = [_number(machine, arg) for arg in args]
    if not any(isinstance(number, Scalar) for number in numbers):
        return range(*numbers)
    start, stop, step = (
        (0, numbers[0], 1) if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else 1)
    )
    return RuntimeRange(start, stop, step)


@model(iter)
def _iter(machine: Machine, *args: Any, native: Any) -> Any:
    return machine.iterator(args[0]) if len(args) == 1 else NotImplemented


@model(enumerate)
def _enumerate(machine: Machine, iterable: Any, start: Any = 0, *, native: Any) -> Any:
    source = machine.plain_iterator(iterable)
    if (items := _immutable(source)) is not None and isinstance(start, int):
        return SequenceIterator(tuple(enumerate(items, start)))
    return Interpret(pyiterators.enumerate_, (source, start))


def _immutable(source: Any) -> tuple[Any, ...] | None:
    """The items of an iterable that nobody can change or advance meanwhile: taken at once, without a generator."""
    if isinstance(source, tuple):
        return source
    if isinstance(source, SequenceIterator) and source.is_private and isinstance(source.items, tuple):
        return source.items
    return None


@model(zip)
def _zip(machine: Machine, *iterables: Any, native: Any, strict: bool = False) -> Any:
    sources = tuple(machine.plain_iterator(item) for item in iterables)
    rows = [_immutable(source) for source in sources]
    if rows and all(row is not None and len(row) == len(rows[0] or ()) for row in rows):
        return SequenceIterator(tuple(zip(*rows, strict=True)))
    return Interpret(pyiterators.zip_, (sources, strict))


@model(map)
def _map(machine: Machine, function: Any, *iterables: Any, native: Any) -> Any:
    return Interpret(pyiterators.map_, (function, tuple(machine.plain_iterator(item) for item in iterables)))


@model(filter)
def _filter(machine: Machine, function: Any, iterable: Any, *, native: Any) -> Any:
    return Interpret(pyiterators.filter_, (function, machine.plain_iterator(iterable)))


@model(reversed)
def _reversed(machine: Machine, items: Any, *, native: Any) -> Any:
    if isinstance(items, (RuntimeList, RuntimeRange, torch.Tensor)) or machine.is_steppable(
        getattr(type(items), "__reversed__", None)
    ):
        raise UnsupportedError("DY203", machine.loc(), f"reversed() of a {class_of(items).__name__} known at run time")
    if type(items) is list:
        return Interpret(pyiterators.reversed_list, (items,))
    if type(items) in (dict, collections.OrderedDict):
        return SequenceIterator(tuple(reversed(items)), items)
    return SequenceIterator(tuple(reversed(items)))


@model(list, tuple)
def _sequence(machine: Machine, *args: Any, native: type, **kwargs: Any) -> Any:
    if len(args) == 1 and isinstance(args[0], RuntimeRange) and native is list:
        return Interpret(pylists.list_copy, (args[0],))
    if len(args) == 1 and isinstance(args[0], SequenceIterator) and isinstance(args[0].items, RuntimeList):
        return Interpret(pylists.list_copy, args)
    if len(args) == 1 and isinstance(args[0], (RangeIterator, SequenceIterator, torch.Tensor)):
        return native(machine.native(iter, (args[0],), {}))
    return NotImplemented


@model(list.sort)
def _list_sort(machine: Machine, items: Any, *, native: Any, key: Any = None, reverse: Any = False) -> Any:
    return Interpret(pyorders.list_sort, (items, key, reverse))


@model(sum)
def _sum(machine: Machine, iterable: Any, start: Any = 0, *, native: Any) -> Any:
    if type(iterable) not in (list, tuple):
        return NotImplemented
    is_own = any(machine.own_method(item, "__radd__", "__add__") is not None for item in (*iterable, start))
    return Interpret(pyiterators.sum_, (tuple(iterable), start)) if is_own else NotImplemented


@model(functools.update_wrapper)
def _update_wrapper(machine: Machine, wrapper: Any, wrapped: Any, *args: Any, native: Any, **kwargs: Any) -> Any:
    if type(wrapper) is not Closure:
        return NotImplemented
    names = ("__module__", "__name__", "__qualname__")
    wrapper.__dict__.update({name: getattr(wrapped, name) for name in names if hasattr(wrapped, name)})
    wrapper.__dict__.update(vars(wrapped))
    wrapper.__dict__["__wrapped__"] = wrapped
    return wrapper


@model(functools.reduce)
def _reduce(machine: Machine, function: Any, iterable: Any, *initial: Any, native: Any) -> Any:
    return Interpret(pyiterators.reduce_, (function, iterable, initial))


@model(operator.itemgetter, operator.attrgetter, operator.methodcaller)
def _getter(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    return Interpret(pymodels.start, (getattr(pymodels, native.__name__), args, kwargs))


@model(itertools.count)
def _count(machine: Machine, start: Any = 0, step: Any = 1, *, native: Any) -> Any:
    return Interpret(pyiterators.count, (start, step))


@model(itertools.cycle)
def _cycle(machine: Machine, items: Any, *, native: Any) -> Any:
    return Interpret(pyiterators.cycle, (items,))


@model(itertools.repeat)
def _repeat(machine: Machine, item: Any, *times: Any, native: Any) -> Any:
    return SequenceIterator((item,) * times[0]) if times else Interpret(pyiterators.repeat, (item,))


@model(itertools.islice)
def _islice(machine: Machine, iterable: Any, *bounds: Any, native: Any) -> Any:
    start, stop, step = (
        (0, bounds[0], 1) if len(bounds) == 1 else (bounds[0] or 0, bounds[1], bounds[2] if len(bounds) > 2 else 1)
    )
    return Interpret(pyiterators.islice, (iterable, start, stop, step or 1))


@model(itertools.accumulate)
def _accumulate(machine: Machine, iterable: Any, function: Any = None, *, native: Any, initial: Any = None) -> Any:
    return Interpret(pyiterators.accumulate, (iterable, function, () if initial is None else (initial,)))


@model(itertools.takewhile)
def _takewhile(machine: Machine, predicate: Any, iterable: Any, *, native: Any) -> Any:
    return Interpret(pyiterators.takewhile, (predicate, iterable))


@model(itertools.dropwhile)
def _dropwhile(machine: Machine, predicate: Any, iterable: Any, *, native: Any) -> Any:
    return Interpret(pyiterators.dropwhile, (predicate, iterable))


@model(any, all)
def _quantifier(machine: Machine, iterable: Any, *, native: Any) -> Any:
    is_known = type(iterable) in (list, tuple, set, frozenset)
    if is_known and not any(type(item) is Text or machine.truth_method(item) for item in iterable):
        return NotImplemented
    if isinstance(iterable, (str, dict, torch.Tensor)):
        return NotImplemented
    return Interpret(pyiterators.any_ if native is any else pyiterators.all_, (iterable,))


@model(next)
def _next(machine: Machine, iterator: Any, *default: Any, native: Any) -> Any:
    own = machine.own_method(iterator, "__next__")
    if own is not None:
        return Interpret(pyiterators.next_own_or, (own, iterator, *default)) if default else Interpret(own, (iterator,))
    if isinstance(iterator, Generator):
        return (
            Interpret(pyiterators.next_or, (iterator, *default))
            if default
            else Interpret(pyiterators.next_, (iterator,))
        )
    return NotImplemented


def _lazy(machine: Machine, function: Any, sources: tuple[Any, ...], *rest: Any) -> Any:
    """A model of an iterator over sources that other code may change or advance meanwhile."""
    return Interpret(function, (tuple(machine.plain_iterator(source) for source in sources), *rest))


@model(itertools.chain)
def _chain(machine: Machine, *iterables: Any, native: Any) -> Any:
    if all(isinstance(item, (tuple, range)) for item in iterables):
        return SequenceIterator(tuple(itertools.chain(*iterables)))
    return _lazy(machine, pyiterators.chain, iterables)


@model(itertools.chain.from_iterable)
def _chain_from(machine: Machine, iterables: Any, *, native: Any) -> Any:
    return Interpret(pyiterators.chain, (machine.plain_iterator(iterables),))


@model(itertools.pairwise)
def _pairwise(machine: Machine, iterable: Any, *, native: Any) -> Any:
    source = machine.plain_iterator(iterable)
    if (items := _immutable(source)) is not None:
        return SequenceIterator(tuple(itertools.pairwise(items)))
    return Interpret(pyiterators.pairwise, (source,))


@model(itertools.compress)
def _compress(machine: Machine, data: Any, selectors: Any, *, native: Any) -> Any:
    return Interpret(pyiterators.compress, (machine.plain_iterator(data), machine.plain_iterator(selectors)))


@model(itertools.starmap)
def _starmap(machine: Machine, function: Any, iterable: Any, *, native: Any) -> Any:
    return Interpret(pyiterators.starmap, (function, machine.plain_iterator(iterable)))


@model(itertools.filterfalse)
def _filterfalse(machine: Machine, function: Any, iterable: Any, *, native: Any) -> Any:
    return Interpret(pyiterators.filterfalse, (function, machine.plain_iterator(iterable)))


@model(itertools.zip_longest)
def _zip_longest(machine: Machine, *iterables: Any, native: Any, fillvalue: Any = None) -> Any:
    return _lazy(machine, pyiterators.zip_longest, iterables, fillvalue)


@model(itertools.tee)
def _tee(machine: Machine, iterable: Any, n: int = 2, *, native: Any) -> Any:
    return Interpret(pyiterators.tee, (iterable, n))


@model(itertools.groupby)
def _groupby(machine: Machine, iterable: Any, key: Any = None, *, native: Any) -> Any:
    return Interpret(pyiterators.groupby, (iterable, key))


@model(pyiterators.are_identical)
def _are_identical(machine: Machine, one: Any, other: Any, *, native: Any) -> bool:
    """Of a run-time number only not-a-number is one with itself and not equal to itself."""
    if isinstance(one, Scalar) and isinstance(other, Scalar) and one.kind is ScalarKind.FLOAT and one.vid == other.vid:
        raise UnsupportedError("DY204", machine.loc(), "the identity of a run-time number", hint="compare with ==")
    return one is other and not isinstance(one, Scalar)


@model(itertools.product, itertools.permutations, itertools.combinations, itertools.combinations_with_replacement)
def _finite(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    """These take their sources in at once themselves: no native iterator is left to be copied when the state forks."""
    return SequenceIterator(tuple(machine.native(lambda *a, **k: tuple(native(*a, **k)), args, kwargs)))
