"""What lists do, as Python source, item by item (see `pymodels.py`)."""

from __future__ import annotations

from typing import Any


def lists_equal(left: Any, right: Any) -> Any:
    """`left == right` of two lists, or two tuples."""
    if len(left) != len(right):
        return False
    place = 0
    while place < len(left):
        if not left[place] == right[place]:  # noqa: SIM201  (this is what == asks)
            return False
        place += 1
    return True


def lists_unequal(left: Any, right: Any) -> Any:
    """`left != right` of two lists, or two tuples."""
    return not lists_equal(left, right)


def list_contains(items: Any, element: Any) -> Any:
    """`element in items` for a list of run-time length."""
    for item in items:  # noqa: SIM110  (any() would be a generator more to interpret)
        if item == element:
            return True
    return False


def list_contains_not(items: Any, element: Any) -> Any:
    """`element not in items` for an iterator or a list of run-time length."""
    for item in items:  # noqa: SIM110
        if item == element:
            return False
    return True


def list_extend(items: Any, more: Any) -> Any:
    """`items.extend(more)`, item by item."""
    for item in more:
        items.append(item)


def list_copy(items: Any) -> Any:
    """A new list of a run-time list's items."""
    copy: list[Any] = []
    for item in items:
        copy.append(item)  # noqa: PERF402  (this is what list() means here)
    return copy


def list_index(items: Any, value: Any) -> Any:
    """`list.index` and `tuple.index`."""
    for index, item in enumerate(items):
        if item == value:
            return index
    if type(items) is tuple:
        raise ValueError("tuple.index(x): x not in tuple")
    raise ValueError(f"{value!r} is not in list")


def list_count(items: Any, value: Any) -> Any:
    """`list.count`."""
    count = 0
    for item in items:
        if item == value:
            count += 1
    return count


def list_remove(items: Any, value: Any) -> Any:
    """`list.remove`."""
    for index, item in enumerate(items):
        if item == value:
            del items[index]
            return
    raise ValueError("list.remove(x): x not in list")


def store_slice(items: Any, part: Any, values: Any) -> Any:
    """`items[start:stop] = values` of a list of run-time length, from something that is gone through."""
    items[part] = [value for value in values]
