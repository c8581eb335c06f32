"""Going through items, as Python source: iterators, `itertools`, and what takes in all items (see `pymodels.py`)."""

from __future__ import annotations

from typing import Any


def consume(function: Any, args: Any, wanted: Any) -> Any:
    """A builtin that goes through iterables of the model's own: they are gone through before."""
    return function(*[[item for item in arg] if is_own else arg for arg, is_own in zip(args, wanted)])  # noqa: B905


def any_(iterable: Any) -> Any:
    """`any`: it stops at the first true item."""
    for item in iterable:  # noqa: SIM110  (this is what any() means)
        if item:
            return True
    return False


def all_(iterable: Any) -> Any:
    """`all`: it stops at the first false item."""
    for item in iterable:  # noqa: SIM110
        if not item:
            return False
    return True


def next_(iterator: Any) -> Any:
    """`next` of a generator."""
    for item in iterator:
        return item
    raise StopIteration


def next_or(iterator: Any, default: Any) -> Any:
    """`next` of a generator, with a default."""
    for item in iterator:
        return item
    return default


def next_own_or(method: Any, iterator: Any, default: Any) -> Any:
    """`next` of an iterator of the model's own, with a default."""
    try:
        return method(iterator)
    except StopIteration:
        return default


def chain(iterables: Any) -> Any:
    """`itertools.chain`."""
    for iterable in iterables:
        yield from iterable


def pairwise(iterable: Any) -> Any:
    """`itertools.pairwise`."""
    started = False
    before: Any = None
    for item in iterable:
        if started:
            yield before, item
        started, before = True, item


def compress(data: Any, selectors: Any) -> Any:
    """`itertools.compress`."""
    for item, wanted in zip(data, selectors):  # noqa: B905  (the shorter one ends it)
        if wanted:
            yield item


def starmap(function: Any, iterable: Any) -> Any:
    """`itertools.starmap`."""
    for args in iterable:
        yield function(*args)


def filterfalse(function: Any, iterable: Any) -> Any:
    """`itertools.filterfalse`."""
    for item in iterable:
        if not (item if function is None else function(item)):
            yield item


def zip_longest(iterables: Any, fill: Any) -> Any:
    """`itertools.zip_longest`."""
    iterators: list[Any] = [iter(iterable) for iterable in iterables]
    is_open = [True for _ in iterators]
    while iterators:
        items: list[Any] = []
        for index, iterator in enumerate(iterators):
            found = fill
            if is_open[index]:
                try:
                    found = next(iterator)
                except StopIteration:
                    is_open[index] = False
                    if True not in is_open:
                        return
            items.append(found)
        yield tuple(items)


def reversed_list(items: Any) -> Any:
    """`reversed` of a list, which may change meanwhile."""
    index = len(items) - 1
    while 0 <= index < len(items):
        yield items[index]
        index -= 1


def enumerate_(iterable: Any, start: Any) -> Any:
    """`enumerate`."""
    index = start
    for item in iterable:
        yield index, item
        index += 1


def zip_(iterables: Any, strict: Any) -> Any:
    """`zip`."""
    iterators = [iter(iterable) for iterable in iterables]
    while iterators:
        items: list[Any] = []
        for number, iterator in enumerate(iterators):
            try:
                items.append(next(iterator))
            except StopIteration:
                if strict and number:
                    raise ValueError(f"zip() argument {number + 1} is shorter than argument {number}") from None
                if strict:
                    for other in range(1, len(iterators)):
                        try:
                            next(iterators[other])
                        except StopIteration:
                            continue
                        raise ValueError(f"zip() argument {other + 1} is longer than argument {other}") from None
                return
        yield tuple(items)


def unpacked(items: Any, most: Any) -> Any:
    """The items of an object that are unpacked, at most as many as tell that there are too many."""
    found: list[Any] = []
    for item in items:
        found.append(item)
        if len(found) == most:
            break
    return found


def tuple_copy(items: Any) -> Any:
    """A new tuple of what is gone through."""
    return tuple([item for item in items])


def listed(function: Any, items: Any, named: Any) -> Any:
    """A builtin that takes in all items first."""
    return function([item for item in items], **named)


def map_(function: Any, iterables: Any) -> Any:
    """`map`."""
    for items in zip(*iterables):  # noqa: B905  (map has no strict form)
        yield function(*items)


def filter_(function: Any, iterable: Any) -> Any:
    """`filter`."""
    for item in iterable:
        if item if function is None else function(item):
            yield item


def range_(start: Any, stop: Any, step: Any) -> Any:
    """Iteration over a range of run-time numbers."""
    if step == 0:
        raise ValueError("range() arg 3 must not be zero")
    value = start
    if step > 0:
        while value < stop:
            yield value
            value += step
    else:
        while value > stop:
            yield value
            value += step


def tensor_rows(tensor: Any) -> Any:
    """Iteration over a tensor whose first size is known at run time only."""
    index = 0
    size = tensor.shape[0]
    while index < size:
        yield tensor.select(0, index)
        index += 1


def array_rows(array: Any) -> Any:
    """Iteration over an array whose first size is known at run time only."""
    index = 0
    size = array.shape[0]
    while index < size:
        yield array[index]
        index += 1


def list_items(items: Any) -> Any:
    """Iteration over a list of run-time length."""
    index = 0
    while index < len(items):
        yield items[index]
        index += 1


def reduce_(function: Any, iterable: Any, initial: Any) -> Any:
    """`functools.reduce`; `initial` is a tuple of nothing or the initial value."""
    iterator = iter(iterable)
    total = initial[0] if initial else next(iterator)
    for item in iterator:
        total = function(total, item)
    return total


def cycle(items: Any) -> Any:
    """`itertools.cycle`."""
    saved = list(items)
    while saved:
        yield from saved


def repeat(item: Any) -> Any:
    """`itertools.repeat` without end."""
    while True:
        yield item


def count(start: Any, step: Any) -> Any:
    """`itertools.count`."""
    value = start
    while True:
        yield value
        value += step


def islice(iterable: Any, start: Any, stop: Any, step: Any) -> Any:
    """`itertools.islice`."""
    wanted = start
    index = 0
    iterator = iter(iterable)
    while stop is None or index < stop:
        try:
            item = next(iterator)
        except StopIteration:
            return
        if index == wanted:
            yield item
            wanted += step
        index += 1


def accumulate(iterable: Any, function: Any, initial: Any) -> Any:
    """`itertools.accumulate`; `initial` is a tuple of nothing or the initial value."""
    started = bool(initial)
    total = initial[0] if initial else None
    if started:
        yield total
    for item in iterable:
        total = (total + item if function is None else function(total, item)) if started else item
        started = True
        yield total


def takewhile(predicate: Any, iterable: Any) -> Any:
    """`itertools.takewhile`."""
    for item in iterable:
        if not predicate(item):
            return
        yield item


def dropwhile(predicate: Any, iterable: Any) -> Any:
    """`itertools.dropwhile`."""
    dropping = True
    for item in iterable:
        if dropping and predicate(item):
            continue
        dropping = False
        yield item


def sum_(items: Any, start: Any) -> Any:
    """`sum`."""
    total = start
    for item in items:
        total = total + item
    return total


def tee(iterable: Any, n: Any) -> Any:
    """`itertools.tee`: what one of them has taken, waits for the others."""
    iterator = iter(iterable)
    taken: list[Any] = []
    return tuple([taking(iterator, taken) for _ in range(n)])


def taking(iterator: Any, taken: Any) -> Any:
    """One iterator of `tee`."""
    index = 0
    while True:
        if index == len(taken):
            try:
                item = next(iterator)
            except StopIteration:
                return
            taken.append(item)
        yield taken[index]
        index += 1


class Grouping:
    """What the groups of an `itertools.groupby` share: the iterator, the item that waits, which group may go on."""

    def __init__(self, iterator: Any, key: Any) -> None:
        self.iterator = iterator
        self.key = key
        self.waits = False
        self.item: Any = None
        self.item_key: Any = None
        self.taken = 0  # how many items
        self.number = 0

    def advance(self) -> Any:
        """Take the next item; False if there is none."""
        try:
            item = next(self.iterator)
        except StopIteration:
            return False
        self.item = item
        self.item_key = item if self.key is None else self.key(item)
        self.taken += 1
        self.waits = True
        return True

    def is_within(self, wanted: Any, since: Any) -> Any:
        """Whether the item belongs to the group of this key, which began when so many items were taken."""
        return self.taken == since or are_identical(wanted, self.item_key) or wanted == self.item_key


def groupby(iterable: Any, key: Any) -> Any:
    """`itertools.groupby`: what nobody has taken of a group is passed over when the next one is asked for."""
    grouping = Grouping(iter(iterable), key)
    number = 0
    if not grouping.advance():
        return
    while True:
        number += 1
        grouping.number = number
        wanted = grouping.item_key
        since = grouping.taken
        yield wanted, group(grouping, wanted, since, number)
        grouping.number = 0
        while grouping.is_within(wanted, since):
            if not grouping.advance():
                return


def group(grouping: Any, wanted: Any, since: Any, number: Any) -> Any:
    """One group: it ends where another key comes, or another group is asked for."""
    while grouping.number == number:
        if not grouping.waits and not grouping.advance():
            return
        if not grouping.is_within(wanted, since):
            return
        grouping.waits = False
        yield grouping.item


def are_identical(one: Any, other: Any) -> Any:
    """`one is other`, as far as equality does not say it."""
    raise AssertionError("a model: it runs in the machine alone")
