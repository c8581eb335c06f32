"""What native code is known to do with what it is handed: to hold it, to move it, to look keys up."""

from __future__ import annotations

import collections
import operator
import types
from typing import Any

import torch

from dycl.ir.trees import leaves
from dycl.passes.specialize.journal import CONTAINERS
from dycl.passes.specialize.values import Text

SUBSCRIPTS = (operator.getitem, operator.setitem, operator.delitem, operator.contains)
COMPARE_ITEMS = frozenset({"index", "count", "remove", "__contains__"})
JOINS_LISTS = frozenset({operator.add, operator.iadd, operator.mul, operator.imul})  # they move items, unread
MOVERS: frozenset[Any] = frozenset(
    {
        list,
        tuple,
        dict,
        set,
        frozenset,
        sum,
        any,
        all,
        min,
        max,
        sorted,
        isinstance,
        issubclass,
        callable,
        id,
        object,
        slice,
        next,
        zip,
        bool,
        divmod,
        abs,
        round,
        pow,
        hasattr,
        getattr,
        type,
        str,
        repr,
        super,
    }
)


def only_holds(function: Any, owner: Any) -> bool:
    """Whether a tensor among the arguments is only kept: by a container, an exception, an object of another class."""
    if isinstance(function, type):
        return function.__module__.partition(".")[0] != "torch" and not issubclass(function, torch.Tensor)
    if isinstance(owner, type):  # `cls.__new__`
        return owner.__module__.partition(".")[0] != "torch" and not issubclass(owner, torch.Tensor)
    return function is isinstance or isinstance(owner, (list, dict, set, BaseException))


def only_moves_texts(function: Any, args: tuple[Any, ...]) -> bool:
    """Whether texts among the arguments are kept as they are: their characters are not read, compared or hashed."""
    if function in _SUBSCRIPTS_OF_ONE:
        return type(args[0]) in _HOLDERS and not _has_text(args[1])
    if function in (isinstance, callable) or _has_fields(function):
        return True
    owner = owner_of(function)
    if isinstance(owner, type) and function.__name__ == "fromkeys":
        return issubclass(owner, dict) and not _has_text(args[0])
    if function in (dict, operator.or_, operator.ior):
        return all(type(arg) is dict and not _has_text(list(arg)) for arg in args)
    is_list_of_lists = function in (sum,) and len(args) == 2 and type(args[1]) in (list, tuple)
    return (is_list_of_lists or function in _GO_THROUGH) and not any(isinstance(arg, Text) for arg in args)


def _has_text(value: Any) -> bool:
    return any(isinstance(leaf, Text) for leaf in leaves(value))


_SUBSCRIPTS_OF_ONE = (operator.getitem, operator.setitem, operator.delitem)
_HOLDERS = (list, tuple, dict, collections.deque, collections.OrderedDict, collections.defaultdict)
_GO_THROUGH = (len, bool, list, tuple, iter, reversed, enumerate, zip, collections.deque)


def _has_fields(cls: Any) -> bool:
    """Whether making an instance in native code stores what it is made of, and does nothing else."""
    if not isinstance(cls, type):
        return False
    made_by: Any = cls.__new__
    is_plain = made_by is object.__new__ and hasattr(cls, "__dataclass_fields__")
    return is_plain or cls is types.SimpleNamespace or (issubclass(cls, tuple) and hasattr(cls, "_fields"))


def only_stores(function: Any, leaf: Any, args: tuple[Any, ...]) -> bool:
    """Whether native code only puts an object somewhere, or hands on what holds it."""
    if function in (list, tuple, iter):
        return args[0] is not leaf
    if function in (operator.getitem, operator.setitem):
        return args[0] is not leaf and not isinstance(args[1], slice)
    owner = getattr(function, "__self__", None)
    return isinstance(owner, CONTAINERS) and function.__name__ in ("append", "appendleft", "insert", "setdefault")


KEYED = frozenset({"add", "discard", "remove", "setdefault", "pop", "update"})


def keys_of(function: Any, args: tuple[Any, ...]) -> list[Any]:
    """The keys that a method of a dict or set is handed, where these can be seen."""
    if function.__name__ != "update":
        return list(args[:1])
    found = [arg for arg in args if type(arg) in (list, tuple)]
    if isinstance(function.__self__, set):
        return [key for arg in found for key in arg]
    return [pair[0] for arg in found for pair in arg if type(pair) in (list, tuple) and pair]


def only_moves(function: Any, args: tuple[Any, ...]) -> bool:
    """Whether lists among the arguments are kept as they are; where native code goes through one, the list says so."""
    if function in SUBSCRIPTS:
        return not isinstance(args[0], torch.Tensor)
    return isinstance(getattr(function, "__self__", None), CONTAINERS) or function in (list, tuple, dict, iter)


def is_operator(function: Any) -> bool:
    """Whether a function is an operator of torch: what is registered for it computes and does nothing else."""
    return isinstance(function, (torch._ops.OpOverload, torch._ops.OpOverloadPacket))


def owner_of(function: Any) -> Any:
    return getattr(function, "__self__", None)
