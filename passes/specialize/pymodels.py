"""Builtins as Python source: the machine steps into these like into any other function.

Where a builtin's native form would call back into the model, or would hide an iterator that a fork has to copy, this is
what runs in its place. Here: calls, attributes, operators, dicts and the environment. What goes through items is in
`pyiterators.py`, what a list does in `pylists.py`, what brings items into an order in `pyorders.py`.
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
