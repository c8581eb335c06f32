"""The host functions: what Python itself does between two dispatches, one table for the executor and the generator.

Each entry has the callable that the reference executor and constant folding run, and the text that the host generator
prints. Both mean exactly the same Python.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from dycl.ir import numerics, printing
from dycl.ir.arrays import ARRAY_FUNCTIONS
from dycl.ir.hosteffects import EFFECTS
from dycl.ir.hostfunctions import HostFunction
from dycl.ir.kinds import is_a


def _size(tensor: object, dim: int) -> int:
    return int(tensor.shape[dim])  # type: ignore[attr-defined]


def _item(tensor: object) -> object:
    return tensor.item()  # type: ignore[attr-defined]


def _item_at(tensor: object, index: int | tuple[int, ...]) -> object:
    found = tensor if isinstance(index, tuple) else tensor.reshape(-1)  # type: ignore[attr-defined]
    return found[index].item()  # type: ignore[index]


def _error_of(name: str, *args: object) -> int:
    return numerics.error_of(HOST_FUNCTIONS[name].call, *args)


def _error_text(name: str, *args: object) -> str:
    return numerics.error_text(HOST_FUNCTIONS[name].call, *args)


def _tensor_text(tensor: object, *options: object) -> str:
    return printing.tensor_text(tensor.detach().numpy(), *options)  # type: ignore[attr-defined]


def _sorted_down(items: list[float]) -> list[float]:
    return sorted(items, reverse=True)


def _order(keys: list[object], reverse: bool) -> list[int]:
    return sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)  # type: ignore[arg-type]


def _stack(tensors: object, dim: int) -> object:
    import torch

    return torch.stack(tensors, dim)  # type: ignore[arg-type]


def _cat(tensors: object, dim: int) -> object:
    import torch

    return torch.cat(tensors, dim)  # type: ignore[arg-type]


def _tensor_of(items: object, dtype: str) -> object:
    import torch

    return torch.tensor(items, dtype=getattr(torch, dtype))


def _empty(shape: tuple[int, ...], dtype: str) -> object:
    import torch

    return torch.empty(shape, dtype=getattr(torch, dtype))


def _tunable(name: str) -> object:
    raise LookupError(f"the value of tunable {name!r} is the executor's to give")


_BINARY: tuple[tuple[str, str, int, Callable[..., object], bool], ...] = (
    ("add", "+", 60, operator.add, False),
    ("sub", "-", 60, operator.sub, False),
    ("mul", "*", 70, operator.mul, False),
    ("truediv", "/", 70, operator.truediv, True),
    ("floordiv", "//", 70, operator.floordiv, True),
    ("mod", "%", 70, operator.mod, True),
    ("pow", "**", 80, operator.pow, True),
    ("list_repeat", "*", 70, operator.mul, False),
    ("list_concat", "+", 60, operator.add, False),
    ("lshift", "<<", 50, operator.lshift, True),
    ("rshift", ">>", 50, operator.rshift, True),
    ("and_", "&", 40, operator.and_, False),
    ("xor", "^", 35, operator.xor, False),
    ("or_", "|", 30, operator.or_, False),
    ("eq", "==", 20, operator.eq, False),
    ("ne", "!=", 20, operator.ne, False),
    ("lt", "<", 20, operator.lt, False),
    ("le", "<=", 20, operator.le, False),
    ("gt", ">", 20, operator.gt, False),
    ("ge", ">=", 20, operator.ge, False),
    ("element_in", "in", 20, lambda x, xs: x in xs, False),
)

_CALLS: tuple[tuple[str, str, Callable[..., object], bool], ...] = (
    ("int", "int({0})", int, True),
    ("float", "float({0})", float, True),
    ("bool", "bool({0})", bool, False),
    ("abs", "abs({0})", abs, False),
    ("round", "round({0})", round, True),
    ("round_to", "round({0}, {1})", round, True),
    ("min", "min({0}, {1})", min, False),
    ("max", "max({0}, {1})", max, False),
    ("format", "format({0}, {1})", format, True),
    ("str", "str({0})", str, False),
    ("repr", "repr({0})", repr, False),
    ("item", "{0}.item()", _item, False),
    ("peek", "{0}.item()", _item, False),  # an item that a kernel of torch looks at, no line of the model
    ("item_at", "{0}.item({1})", _item_at, False),
    ("peek_at", "{0}.item({1})", _item_at, False),
    ("argmax", "{0}.argmax({1})", lambda tensor, dim: tensor.argmax(dim), False),  # a tensor of places
    ("argmin", "{0}.argmin({1})", lambda tensor, dim: tensor.argmin(dim), False),
    ("row", "{0}[{1}, ...]", lambda tensor, index: tensor[index, ...], False),  # a view, of an element, too
    ("slice", "{0}[{1}]", lambda tensor, rows: tensor[rows], False),  # a view
    ("size", "{0}.shape[{1}]", _size, False),
    ("list_append", "[*{0}, {1}]", lambda xs, x: [*xs, x], False),
    ("list_get", "{0}[{1}]", operator.getitem, True),
    ("list_len", "len({0})", len, False),
    ("list_copy", "list({0})", list, False),
    ("tuple_of", "tuple({0})", tuple, False),
    ("list_zip", "list(zip(*{0}))", lambda rows: list(zip(*rows, strict=False)), False),
    ("list_column", "tuple([row[{1}] for row in {0}])", lambda rows, i: tuple([row[i] for row in rows]), False),
    ("list_set", "[*{0}[:{1}], {2}, *{0}[({1}) + 1 :]]", lambda xs, i, x: [*xs[:i], x, *xs[i + 1 :]], False),
    ("list_insert", "[*{0}[:{1}], {2}, *{0}[{1}:]]", lambda xs, i, x: [*xs[:i], x, *xs[i:]], False),
    ("list_delete", "[*{0}[:{1}], *{0}[({1}) + 1 :]]", lambda xs, i: [*xs[:i], *xs[i + 1 :]], False),
    ("list_slice", "{0}[{1}:{2}]", lambda xs, start, stop: xs[start:stop], False),
    ("list_slice_by", "{0}[{1}:{2}:{3}]", lambda xs, start, stop, step: xs[start:stop:step], False),
    ("list_reversed", "{0}[::-1]", lambda xs: xs[::-1], False),
    ("list_sorted", "sorted({0}, reverse={1})", lambda xs, reverse: sorted(xs, reverse=reverse), True),
    ("list_order", "sorted(range(len({0})), key={0}.__getitem__, reverse={1})", _order, True),
    ("list_take", "[*map({0}.__getitem__, {1})]", lambda xs, order: [xs[i] for i in order], False),
    ("list_sum", "sum({0}, {1})", sum, False),
    ("list_min", "min({0})", min, True),
    ("list_max", "max({0})", max, True),
    ("dict_of", "dict(zip({0}, {1}, strict=True))", lambda keys, items: dict(zip(keys, items, strict=True)), False),
    ("list_join", "{1}.join({0})", lambda xs, separator: separator.join(xs), False),
    ("part", "{0}[{1}]", operator.getitem, False),
    ("stack", "np.stack({0}, {1})", _stack, True),
    ("cat", "np.concatenate({0}, {1})", _cat, True),
    ("tensor_of", "np.array({0}, {1})", _tensor_of, True),
    ("empty", "np.empty({0}, {1})", _empty, False),  # of no elements
    ("tolist", "{0}.tolist()", lambda x: x.tolist(), False),
    # where values lie is a matter of the target's: here both hand on what they are given
    ("place", "self.runtime.place({0})", lambda value: value, False),
    ("fetch", "fetch({0})", lambda value: value, False),
    # what subgraphs hand each other may not be an array: a size of it, and what it is as one
    ("size_of", "size_of({0}, {1})", _size, False),
    ("array_of", "array_of({0})", lambda value: value, False),
)


def _set_attr(target: object, name: str, value: object) -> bool:
    setattr(target, name, value)
    return True


# What asks or changes the caller's objects. `attr_now` reads what the program itself writes: it keeps its order.
_OBJECTS: tuple[tuple[str, str, int, Callable[..., object], bool], ...] = (
    ("attr", "getattr({0}, {1})", 100, getattr, False),
    ("attr_now", "getattr({0}, {1})", 100, getattr, True),
    ("entry", "{0}[{1}]", 100, lambda items, index: items[index], False),
    ("has_attr", "hasattr({0}, {1})", 100, hasattr, True),
    ("is_a", "is_a({0}, {1})", 100, is_a, False),
    ("is_none", "{0} is None", 20, lambda value: value is None, False),
    ("same", "{0} is {1}", 20, operator.is_, False),
    ("narrow", "{0}", 100, lambda value: value, False),
    ("set_attr", "self._set({0}, {1}, {2})", 100, _set_attr, True),
)
# Methods of `str`: which type they give. They are written as `str.upper(text)`.
_TEXT_METHODS_BY_KIND = {
    "str": """upper lower strip lstrip rstrip title capitalize swapcase casefold replace zfill ljust rjust center
        removeprefix removesuffix expandtabs""",
    "bool": """startswith endswith isdigit isalpha isalnum isnumeric isdecimal isspace isupper islower isidentifier
        __contains__""",
    "int": "find rfind count index rindex __len__",
}
TEXT_METHODS = {name: kind for kind, names in _TEXT_METHODS_BY_KIND.items() for name in names.split()}
TEXT_SPLITTERS = frozenset({"split", "rsplit", "splitlines"})  # these give lists of texts
# What torch does with one element of a tensor, on a number.
_OF_ELEMENTS = ("single", "rounded", "floored", "ceiled", "truncated", "int32", "int64", "nearest_int32")

_MATH = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "copysign",
    "cos",
    "cosh",
    "degrees",
    "dist",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "floor",
    "fmod",
    "gamma",
    "hypot",
    "isfinite",
    "isinf",
    "isnan",
    "isclose",
    "ldexp",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "nextafter",
    "pow",
    "radians",
    "remainder",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
]


def _table() -> dict[str, HostFunction]:
    rows = [HostFunction(n, f, f"{{0}} {sign} {{1}}", p, r) for n, sign, p, f, r in _BINARY]
    rows += [HostFunction(n, f, text, 100, r) for n, text, f, r in _CALLS]
    rows += [
        HostFunction(f"math.{n}", getattr(math, n), "", 100, True) for n in _MATH
    ]  # text: a call with as many operands as given
    rows += [
        HostFunction("neg", operator.neg, "-{0}", 75),
        HostFunction("pos", operator.pos, "+{0}", 75),
        HostFunction("invert", operator.invert, "~{0}", 75),
        HostFunction("not_", operator.not_, "not {0}", 15),
        HostFunction("int.bit_length", int.bit_length, ""),  # text: a call with as many operands as given
        HostFunction("error_of", _error_of, ""),  # text: the function that the first operand names, and its operands
        HostFunction("error_text", _error_text, ""),
        HostFunction("real_pow", numerics.real_pow, "numerics.real_pow({0}, {1})", 100, True),
        HostFunction("printing.tensor_text", _tensor_text, ""),  # text: a call with as many operands as given
        HostFunction("from_front", numerics.from_front, "numerics.from_front({0}, {1})"),
        HostFunction("numerics.clip", numerics.clip, ""),
        HostFunction("numerics.least", numerics.least, ""),
        HostFunction("numerics.rows", numerics.rows, ""),
        HostFunction("numerics.pieces", numerics.pieces, ""),
        HostFunction("numerics.chunks", numerics.chunks, ""),
        HostFunction("numerics.span", numerics.span, ""),
        HostFunction("numerics.take_rows", lambda tensor, places: tensor[places], "", 100, True),
        *(HostFunction(f"numerics.{name}", getattr(numerics, name), "") for name in _OF_ELEMENTS),
        *(HostFunction(f"str.{name}", getattr(str, name), "", 100, True) for name in TEXT_METHODS),
        *(HostFunction(f"str.{name}", getattr(str, name), "", 100, True) for name in sorted(TEXT_SPLITTERS)),
        HostFunction("sorted", sorted, "sorted({0})"),
        HostFunction("sorted_down", _sorted_down, "sorted({0}, reverse=True)"),
        HostFunction("numerics.spliced", numerics.spliced, ""),
        HostFunction("numerics.place_of", numerics.place_of, ""),
        HostFunction("numerics.hash_order", numerics.hash_order, ""),
        HostFunction("numerics.order_of", numerics.order_of, ""),
        HostFunction("numerics.place_of_max", numerics.place_of_max, ""),
        HostFunction("numerics.place_of_min", numerics.place_of_min, ""),
        HostFunction("tunable", _tunable, "self.{0}"),
    ]
    rows += [HostFunction(n, f, text, precedence, r) for n, text, precedence, f, r in _OBJECTS]
    return {row.name: row for row in rows} | ARRAY_FUNCTIONS | EFFECTS


HOST_FUNCTIONS: dict[str, HostFunction] = _table()
