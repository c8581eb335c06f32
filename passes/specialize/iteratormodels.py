"""Models of the builtins that iterate, and of `itertools`: the iterators that they make are the machine's own.

A native iterator cannot be copied where a state forks, and calls back from where the machine does not see it.
"""

from __future__ import annotations

import collections
import functools
import itertools
import operator
from typing import TYPE_CHECKING, Any

import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.values import ScalarKind
from dycl.passes.specialize import pyiterators, pylists, pymodels, pyorders
from dycl.passes.specialize.builtins import Interpret, class_of, model, number_of_element
from dycl.passes.specialize.values import (
    Closure,
    Generator,
    RangeIterator,
    RuntimeList,
    RuntimeRange,
    Scalar,
    SequenceIterator,
    Text,
)

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


@model(range)
def _range(machine: Machine, *args: Any, native: Any) -> Any:
    numbers = [number_of_element(machine, arg) for arg in args]
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
