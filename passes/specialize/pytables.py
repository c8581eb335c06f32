"""Dicts and sets whose keys only the run knows, as Python source that the machine steps into.

Such a dict is a list of keys and a list of values, in the order of insertion; a set is a list of elements, whose order
nobody may ask for. Where a key stands is one operation of the host (`place_of`), what follows from it a decision.
"""

from __future__ import annotations

import collections
from typing import Any

from dycl.passes.specialize.pyorders import extremum_of_list


class RunDict:
    """What stands for a dict, a `defaultdict`, an `OrderedDict` or a `Counter`; `_kind` says for which."""

    def __init__(self, site: Any, kind: Any, factory: Any) -> None:
        self._site = site  # where it is made, for who finds that it must not be one
        self._kind = kind
        self._factory = factory
        self._keys: list[Any] = []
        self._values: list[Any] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: Any) -> Any:
        return place_of(self._keys, key) >= 0

    def __iter__(self) -> Any:
        return iterated(self, self._keys)

    def __getitem__(self, key: Any) -> Any:
        place = place_of(self._keys, key)
        if place >= 0:
            return element_of(self._values, place)
        if self._kind.__name__ == "Counter":
            return 0
        if self._factory is None:
            raise KeyError(key)
        value = self._factory()
        self._keys.append(key)
        self._values.append(value)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        place = place_of(self._keys, key)
        if place >= 0:
            replace_element(self._values, place, value)
        else:
            self._keys.append(key)
            self._values.append(value)

    def __delitem__(self, key: Any) -> None:
        place = place_of(self._keys, key)
        if place < 0:
            raise KeyError(key)
        remove_element(self._keys, place)
        remove_element(self._values, place)

    def __eq__(self, other: Any) -> Any:
        if not isinstance(other, dict):
            return NotImplemented
        if len(self) != len(other):
            return False
        for key in self:  # noqa: SIM110
            if key not in other or not other[key] == self[key]:
                return False
        return True

    __hash__ = None  # type: ignore[assignment]

    def get(self, key: Any, default: Any = None) -> Any:
        place = place_of(self._keys, key)
        return element_of(self._values, place) if place >= 0 else default

    def setdefault(self, key: Any, default: Any = None) -> Any:
        place = place_of(self._keys, key)
        if place >= 0:
            return element_of(self._values, place)
        self._keys.append(key)
        self._values.append(default)
        return default

    def pop(self, key: Any, *default: Any) -> Any:
        place = place_of(self._keys, key)
        if place < 0:
            if default:
                return default[0]
            raise KeyError(key)
        value = element_of(self._values, place)
        remove_element(self._keys, place)
        remove_element(self._values, place)
        return value

    def popitem(self) -> Any:
        if not self._keys:
            raise KeyError("popitem(): dictionary is empty")
        return self._keys.pop(), self._values.pop()

    def update(self, other: Any = (), **named: Any) -> None:
        if self._kind.__name__ == "Counter":
            count_in(self, other)
            count_in(self, named)
            return
        if hasattr(other, "keys"):
            for key in other.keys():  # noqa: SIM118  (this is what update() asks for)
                self[key] = other[key]
        else:
            for key, value in other:
                self[key] = value
        for name, value in named.items():
            self[name] = value

    def clear(self) -> None:
        self._keys.clear()
        self._values.clear()

    def copy(self) -> Any:
        made = RunDict(self._site, self._kind, self._factory)
        made._keys = list(self._keys)
        made._values = list(self._values)
        return made

    def __copy__(self) -> Any:
        return self.copy()

    def most_common(self, n: Any = None) -> Any:
        """Of a `Counter`."""
        pairs = sorted([pair for pair in iterated_pairs(self)], key=second, reverse=True)
        return pairs if n is None else pairs[:n] if n > 0 else []

    def total(self) -> Any:
        """Of a `Counter`."""
        return sum(self._values)

    def keys(self) -> Any:
        return RunView(self, 0)

    def values(self) -> Any:
        return RunView(self, 1)

    def items(self) -> Any:
        return RunView(self, 2)


class RunView:
    """`dict.keys`, `dict.values` and `dict.items`: they show what is in the dict later, too."""

    def __init__(self, table: Any, which: Any) -> None:
        self._table = table
        self._which = which

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Any:
        table = self._table
        if self._which == 0:
            return iterated(table, table._keys)
        if self._which == 1:
            return iterated(table, table._values)
        return iterated_pairs(table)

    def __contains__(self, item: Any) -> Any:
        if self._which == 0:
            return item in self._table
        for found in self:  # noqa: SIM110
            if found == item:
                return True
        return False


class RunSet:
    """What stands for a set."""

    def __init__(self, site: Any) -> None:
        self._site = site
        self._items: list[Any] = []
        self._is_filled_one_by_one = True  # then the host can tell the order of its hash table

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, element: Any) -> Any:
        return place_of(self._items, element) >= 0

    def __iter__(self) -> Any:
        if not self._is_filled_one_by_one:
            return unordered(self._items)
        return iterated_elements(self, in_hash_order(self._items))

    def add(self, element: Any) -> None:
        if place_of(self._items, element) < 0:
            self._items.append(element)

    def discard(self, element: Any) -> None:
        self._is_filled_one_by_one = False
        place = place_of(self._items, element)
        if place >= 0:
            remove_element(self._items, place)

    def remove(self, element: Any) -> None:
        place = place_of(self._items, element)
        if place < 0:
            raise KeyError(element)
        self._is_filled_one_by_one = False
        remove_element(self._items, place)

    def update(self, *others: Any) -> None:
        for other in others:
            if isinstance(other, (set, frozenset, dict)):
                self._is_filled_one_by_one = False
            for element in elements_of(other):
                self.add(element)

    def union(self, *others: Any) -> Any:
        made = self.copy()
        made.update(*others)
        return made

    def intersection(self, other: Any) -> Any:
        made = RunSet(self._site)
        made._is_filled_one_by_one = False
        made._items = [element for element in self._items if element in other]
        return made

    def difference(self, other: Any) -> Any:
        made = RunSet(self._site)
        made._is_filled_one_by_one = False
        made._items = [element for element in self._items if element not in other]
        return made

    def issubset(self, other: Any) -> Any:
        for element in self._items:  # noqa: SIM110
            if element not in other:
                return False
        return True

    def isdisjoint(self, other: Any) -> Any:
        for element in self._items:  # noqa: SIM110
            if element in other:
                return False
        return True

    def __eq__(self, other: Any) -> Any:
        if not isinstance(other, (set, frozenset)):
            return NotImplemented
        return len(self) == len(other) and self.issubset(other)

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Any) -> Any:
        return self.union(other) if isinstance(other, (set, frozenset)) else NotImplemented

    def __and__(self, other: Any) -> Any:
        return self.intersection(other) if isinstance(other, (set, frozenset)) else NotImplemented

    def __sub__(self, other: Any) -> Any:
        return self.difference(other) if isinstance(other, (set, frozenset)) else NotImplemented

    def __le__(self, other: Any) -> Any:
        return self.issubset(other) if isinstance(other, (set, frozenset)) else NotImplemented

    def clear(self) -> None:
        self._items.clear()
        self._is_filled_one_by_one = True

    def __copy__(self) -> Any:
        return self.copy()

    def copy(self) -> Any:
        made = RunSet(self._site)
        made._is_filled_one_by_one = False
        made._items = list(self._items)
        return made


def iterated(table: Any, items: Any) -> Any:
    """The items of a dict, which must not change its size meanwhile."""
    size = len(items)
    index = 0
    while True:
        if len(table._keys) != size:
            raise RuntimeError("dictionary changed size during iteration")
        if index >= size:
            return
        yield items[index]
        index += 1


def iterated_elements(table: Any, items: Any) -> Any:
    """The elements of a set, which must not change its size meanwhile."""
    size = len(items)
    index = 0
    while True:
        if len(table._items) != size:
            raise RuntimeError("Set changed size during iteration")
        if index >= size:
            return
        yield items[index]
        index += 1


def iterated_pairs(table: Any) -> Any:
    """The same for keys and values together."""
    size = len(table._keys)
    index = 0
    while True:
        if len(table._keys) != size:
            raise RuntimeError("dictionary changed size during iteration")
        if index >= size:
            return
        yield table._keys[index], table._values[index]
        index += 1


def elements_of(source: Any) -> Any:
    """The elements of what a set takes in: their order makes no difference there."""
    if not isinstance(source, (set, frozenset)):
        return source
    return source._items if hasattr(source, "_items") else sorted(source, key=repr)


def second(pair: Any) -> Any:
    """The value of an item."""
    return pair[1]


def count_in(table: Any, source: Any) -> Any:
    """The `Counter` with what it is updated by: counts, or elements that count once each."""
    if hasattr(source, "keys"):
        for key in source.keys():  # noqa: SIM118  (this is what update() asks for)
            table[key] = source[key] + table[key]
    else:
        for element in source:
            table[element] = table[element] + 1
    return table


def counter_of(source: Any) -> Any:
    """`Counter(source)` of what has to be gone through."""
    return collections.Counter([element for element in source])


def filled(table: Any, pairs: Any) -> Any:
    """The dict with these items."""
    for key, value in pairs:
        table[key] = value
    return table


def dict_of(pairs: Any) -> Any:
    """`dict(pairs)` of what is gone through."""
    return {key: value for key, value in pairs}


def set_of(elements: Any) -> Any:
    """`set(elements)` of what is gone through."""
    return {element for element in elements}


def updated(table: Any, other: Any) -> Any:
    """`dict(other)`."""
    table.update(other)
    return table


def extremum(table: Any, key: Any, default: Any, is_max: Any) -> Any:
    """`min` and `max` of a dict or view."""
    return extremum_of_list([item for item in table], key, default, is_max)


def called(function: Any, items: Any, named: Any) -> Any:
    """A builtin that goes through the elements of a set, of its list of elements."""
    return function(items, **named)


def filled_set(table: Any, elements: Any) -> Any:
    """The set with these elements."""
    table.update(elements)
    return table


# ---------------------------------------------------------------- models of their own (`tables`)


def place_of(items: Any, key: Any) -> Any:
    """The place of a key in a list; -1 if it is not there."""
    raise AssertionError("a model: it runs in the machine alone")


def element_of(items: Any, place: Any) -> Any:
    """The element at a place that is there."""
    raise AssertionError("a model: it runs in the machine alone")


def replace_element(items: Any, place: Any, value: Any) -> None:
    """Put another element at a place that is there."""
    raise AssertionError("a model: it runs in the machine alone")


def remove_element(items: Any, place: Any) -> None:
    """Take out the element at a place that is there."""
    raise AssertionError("a model: it runs in the machine alone")


def in_hash_order(items: Any) -> Any:
    """The elements of a set that was filled with these, one by one, in the order of its hash table."""
    raise AssertionError("a model: it runs in the machine alone")


def unordered(items: Any) -> Any:
    """Iteration over a set: refused, for its order is that of a hash table."""
    raise AssertionError("a model: it runs in the machine alone")
