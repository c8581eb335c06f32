"""Builtins as Python source: the machine steps into these like into any other function.

Where a builtin's native form would call back into the model, or would hide an iterator that a fork has to copy, this is
what runs in its place.
"""

from __future__ import annotations

from typing import Any


def start(function: Any, args: Any, kwargs: Any) -> Any:
    """The compiled method, where that is a procedure itself."""
    return function(*args, **kwargs)


def construct(cls: Any, args: Any, kwargs: Any) -> Any:
    """`cls(*args, **kwargs)`."""
    instance = cls.__new__(cls) if cls.__new__ is object.__new__ else cls.__new__(cls, *args, **kwargs)
    if isinstance(instance, cls):
        cls.__init__(instance, *args, **kwargs)
    return instance


def call_with_hooks(module: Any, forward: Any, pre_hooks: Any, hooks: Any, args: Any, kwargs: Any) -> Any:
    """`nn.Module.__call__` where hooks are registered: (hook, takes keywords) pairs."""
    for hook, with_kwargs in pre_hooks:
        if with_kwargs:
            changed = hook(module, args, kwargs)
            if changed is not None:
                args, kwargs = changed
        else:
            changed = hook(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
    result = forward(*args, **kwargs)
    for hook, with_kwargs in hooks:
        changed = hook(module, args, kwargs, result) if with_kwargs else hook(module, args, result)
        if changed is not None:
            result = changed
    return result


def table_get(keys: Any, table: Any, key: Any, default: Any = None) -> Any:
    """`dict.get` of what only the run knows, among the keys that it could be."""
    for candidate in keys:
        if key == candidate:
            return table[candidate]
    return default


def largest(n: Any, items: Any, key: Any, is_largest: Any) -> Any:
    """`heapq.nlargest` and `nsmallest`."""
    found = sorted(items, key=key, reverse=is_largest)
    return found[:n] if n > 0 else []


def itemgetter(*keys: Any) -> Any:
    """`operator.itemgetter(*keys)`."""
    if len(keys) == 1:
        return lambda value: value[keys[0]]
    return lambda value: tuple([value[key] for key in keys])


def attrgetter(*names: Any) -> Any:
    """`operator.attrgetter(*names)`."""
    if len(names) == 1:
        return lambda value: attribute_at(value, names[0])
    return lambda value: tuple([attribute_at(value, name) for name in names])


def attribute_at(value: Any, path: Any) -> Any:
    """The attribute at a path of names with dots between them."""
    for name in path.split("."):
        value = getattr(value, name)
    return value


def methodcaller(name: Any, *args: Any, **kwargs: Any) -> Any:
    """`operator.methodcaller(name, ...)`."""
    return lambda value: getattr(value, name)(*args, **kwargs)


def call_getter(made_by: Any, made_of: Any, args: Any) -> Any:
    """A call of one of the above that was made before the run."""
    return made_by(*made_of)(*args)


def default_item(table: Any, key: Any) -> Any:
    """`table[key]` of a `defaultdict`."""
    if key in table:
        return table.get(key)
    value = table.default_factory()
    table[key] = value
    return value


def cached(function: Any, args: Any, kwargs: Any) -> Any:
    """A function with a cache: it runs each time; what it returns would be there again, so it may not be changed."""
    return held(function(*args, **kwargs))


def held(value: Any) -> Any:
    """The value, which a cache holds."""
    return value


def table_item(keys: Any, table: Any, key: Any) -> Any:
    """`table[key]` of a tuple of which the run knows a part, among the keys that are tuples."""
    for candidate in keys:
        if key == candidate:
            return table[candidate]
    raise KeyError(key)


def converted(native: Any, method: Any, value: Any) -> Any:
    """`int(value)` or `float(value)` of an object whose class says what that is."""
    result = method(value)
    if not isinstance(result, (int, float)) or (native is int and not isinstance(result, int)):
        raise TypeError(
            f"{type(value).__name__}.{method.__name__} returned non-{native.__name__} (type {type(result).__name__})"
        )
    return native(result)


def nothing(*args: Any) -> Any:
    """Entering or leaving a gradient mode: everything runs without gradients anyway."""
    return None


def operation(calls: Any, outcome: Any, words: Any) -> Any:
    """An operator: the first method that knows what to do; then what identity says, or an error."""
    for method, args in calls:
        result = method(*args)
        if result is not NotImplemented:
            return result
    if outcome is NotImplemented:
        raise TypeError(words)
    return outcome


def not_equal(equal: Any, left: Any, right: Any) -> Any:
    """`object.__ne__`: the contrary of the class's own `__eq__`."""
    result = equal(left, right)
    return result if result is NotImplemented else not result


def truth(method: Any, value: Any) -> Any:
    """`bool(value)` by its own `__bool__` or `__len__`."""
    return bool(method(value))


def untruth(method: Any, value: Any) -> Any:
    """`not value` by its own `__bool__` or `__len__`."""
    return not method(value)


def contains(method: Any, container: Any, element: Any) -> Any:
    """`element in container` by its own `__contains__`."""
    return bool(method(container, element))


def contains_not(method: Any, container: Any, element: Any) -> Any:
    """`element not in container` by its own `__contains__`."""
    return not method(container, element)


def cached_attribute(function: Any, target: Any, name: Any) -> Any:
    """`functools.cached_property`: computed once, kept on the object."""
    value = function(target)
    setattr(target, name, value)
    return value


def attribute_or(getter: Any, default: Any) -> Any:
    """`getattr` with a default of what the model's own code computes; `getter` is its function and arguments."""
    try:
        return getter.function(*getter.args)
    except AttributeError:
        return default


def has_attribute(getter: Any) -> Any:
    """`hasattr` of what the model's own code computes."""
    try:
        getter.function(*getter.args)
    except AttributeError:
        return False
    return True


def effect(setter: Any) -> Any:
    """`setattr` where the model's own code does it; `setter` is its function and arguments."""
    setter.function(*setter.args)


def initialize(instance: Any, values: Any, store: Any, has_post_init: Any, arguments: Any) -> Any:
    """The `__init__` that `dataclasses` writes: (name, value, whether that is a factory) of each field in order."""
    for name, value, is_factory in values:
        store(instance, name, value() if is_factory else value)
    if has_post_init:
        instance.__post_init__(*arguments)


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


def dict_keys(table: Any) -> Any:
    """`dict.keys` of a dict of the caller's."""
    return list(table)


def dict_values(table: Any) -> Any:
    """`dict.values` of a dict of the caller's."""
    return [table[key] for key in table]


def dict_items(table: Any) -> Any:
    """`dict.items` of a dict of the caller's."""
    return [(key, table[key]) for key in table]


def dict_get(table: Any, key: Any, default: Any = None) -> Any:
    """`dict.get` of a dict of the caller's."""
    return table[key] if key in table else default  # noqa: SIM401  (this is what get() means)


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


def reduce_(function: Any, iterable: Any, initial: Any) -> Any:
    """`functools.reduce`; `initial` is a tuple of nothing or the initial value."""
    iterator = iter(iterable)
    total = initial[0] if initial else next(iterator)
    for item in iterator:
        total = function(total, item)
    return total


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


def identity(item: Any) -> Any:
    """The key of what is compared itself."""
    return item


def sum_(items: Any, start: Any) -> Any:
    """`sum`."""
    total = start
    for item in items:
        total = total + item
    return total


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


# ---------------------------------------------------------------- the environment


def has_variable(key: Any) -> Any:
    """Whether the environment has a variable, as the host finds it."""
    raise NotImplementedError


def variable(key: Any) -> Any:
    """The variable of the environment, as the host finds it."""
    raise NotImplementedError


def environment_get(key: Any, default: Any) -> Any:
    """`os.environ.get(key, default)`."""
    if has_variable(key):
        return variable(key)
    return default


def environment_item(key: Any) -> Any:
    """`os.environ[key]`."""
    if has_variable(key):
        return variable(key)
    raise KeyError(key)


def enum_member(cls: Any, value: Any) -> Any:
    """`cls(value)` of an enumeration, for a number that only the run knows."""
    for member in tuple(cls):
        if value == member.value:
            return member
    raise ValueError(f"{value!r} is not a valid {cls.__qualname__}")
