"""Orders, as Python source: sorting, extremes, bisection, heaps (see `pymodels.py`)."""

from __future__ import annotations

from typing import Any


def largest(n: Any, items: Any, key: Any, is_largest: Any) -> Any:
    """`heapq.nlargest` and `nsmallest`."""
    found = sorted(items, key=key, reverse=is_largest)
    return found[:n] if n > 0 else []


def sorted_(iterable: Any, key: Any, reverse: Any) -> Any:
    """`sorted` with a key."""
    items = list(iterable)
    return permuted(items, [key(item) for item in items], reverse)


def permuted(items: Any, keys: Any, reverse: Any) -> Any:
    """The items in the order of their keys: a model of its own (`ordering`)."""


def permuted_by_methods(items: Any, keys: Any, reverse: Any) -> Any:
    """The items in the order of keys that compare themselves, each comparison the one that Python makes.

    A run at the front, then each key after it put in its place by halving: so Python sorts fewer than 64.
    """
    places = list(range(len(keys)))
    if reverse:
        places.reverse()
    run = ordered_front(places, keys)
    for index in range(run, len(places)):
        place = places[index]
        low = 0
        high = index
        while low < high:
            middle = (low + high) // 2
            if keys[place] < keys[places[middle]]:
                high = middle
            else:
                low = middle + 1
        places.insert(low, places.pop(index))
    if reverse:
        places.reverse()
    return [items[place] for place in places]


def ordered_front(places: Any, keys: Any) -> Any:
    """How many at the front are in order; those that are strictly in the other order are turned around before."""
    count = min(len(places), 2)
    if count == 2 and keys[places[1]] < keys[places[0]]:
        while count < len(places) and keys[places[count]] < keys[places[count - 1]]:
            count += 1
        places[:count] = places[:count][::-1]
        return count
    while 0 < count < len(places) and not keys[places[count]] < keys[places[count - 1]]:
        count += 1
    return count


class ComparedKey:
    """What `functools.cmp_to_key` makes of an object."""

    def __init__(self, compare: Any, value: Any) -> None:
        self.compare = compare
        self.value = value

    def __lt__(self, other: Any) -> Any:
        return self.compare(self.value, other.value) < 0

    def __gt__(self, other: Any) -> Any:
        return self.compare(self.value, other.value) > 0


def cmp_to_key(compare: Any) -> Any:
    """`functools.cmp_to_key`."""
    return lambda value: ComparedKey(compare, value)


def list_sort(items: Any, key: Any, reverse: Any) -> Any:
    """`list.sort`: an interrupted native sort would leave the list in disorder."""
    items[:] = sorted(items, key=key, reverse=reverse)


def extremum(items: Any, key: Any, default: Any, is_max: Any) -> Any:
    """`min` and `max` with a key."""
    found = list(items)
    if not found:
        if default:
            return default[0]
        raise ValueError(f"{'max' if is_max else 'min'}() arg is an empty sequence")
    return best(found, [key(item) for item in found], is_max)


def best(items: Any, keys: Any, is_max: Any) -> Any:
    """The item with the largest or smallest of the keys: a model of its own (`ordering`)."""


def best_by_comparison(items: Any, keys: Any, is_max: Any) -> Any:
    """The same for keys of any type."""
    place = 0
    for index in range(1, len(keys)):
        if keys[index] > keys[place] if is_max else keys[index] < keys[place]:
            place = index
    return items[place]


def identity(item: Any) -> Any:
    """The key of what is compared itself."""
    return item


def runtime_sorted(items: Any, key: Any, reverse: Any) -> Any:
    """`sorted` of a list of run-time length."""
    return permuted(items, [key(item) for item in items], reverse)


def runtime_list_sort(items: Any, key: Any, reverse: Any) -> Any:
    """`list.sort` of a list of run-time length."""
    from dycl.passes.specialize.lists import become

    become(items, permuted(items, [key(item) for item in items], reverse))


def bisect_left(items: Any, value: Any) -> Any:
    """`bisect.bisect_left`."""
    low = 0
    high = len(items)
    while low < high:
        middle = (low + high) // 2
        if items[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


def bisect_right(items: Any, value: Any) -> Any:
    """`bisect.bisect_right`."""
    low = 0
    high = len(items)
    while low < high:
        middle = (low + high) // 2
        if value < items[middle]:
            high = middle
        else:
            low = middle + 1
    return low


def heappush(heap: Any, item: Any) -> Any:
    """`heapq.heappush`: the new item rises to its place."""
    heap.append(item)
    place = len(heap) - 1
    while place > 0:
        parent = (place - 1) // 2
        if not item < heap[parent]:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = item


def heappop(heap: Any) -> Any:
    """`heapq.heappop`: the last item takes the first's place, sinks to a leaf and rises to its place."""
    last = heap.pop()
    if not heap:
        return last
    found = heap[0]
    end = len(heap)
    place = 0
    child = 1
    while child < end:
        if child + 1 < end and not heap[child] < heap[child + 1]:
            child += 1
        heap[place] = heap[child]
        place = child
        child = 2 * place + 1
    while place > 0:
        parent = (place - 1) // 2
        if not last < heap[parent]:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = last
    return found


def extremum_of_list(items: Any, key: Any, default: Any, is_max: Any) -> Any:
    """`min` and `max` of a list of run-time length."""
    if not items:
        if default:
            return default[0]
        raise ValueError(f"{'max' if is_max else 'min'}() iterable argument is empty")
    best = items[0]
    best_key = key(best)
    for item in items[1:]:
        item_key = key(item)
        if item_key > best_key if is_max else item_key < best_key:
            best, best_key = item, item_key
    return best
