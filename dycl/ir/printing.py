"""The text of a tensor, as torch writes it: `tensor([1.0000, 2.5000])`.

The reference executor calls this; an artifact whose host needs the text of a tensor holds a copy of this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_PREFIX = "tensor("


@dataclass(frozen=True, slots=True)
class Options:
    """What `torch.set_printoptions` sets, and the dtype that needs no mention."""

    default_dtype: str = "float32"
    precision: int = 4
    threshold: float = 1000
    edge_items: int = 3
    line_width: int = 80
    sci_mode: bool | None = None


def tensor_text(array: Any, *options: Any) -> str:
    """The text of a tensor of the same content; `options` are the fields of `Options`, in their order."""
    array = np.asarray(array)
    chosen = Options(*options)
    content = _content(array, chosen) if array.size else "[]"
    return _with_suffixes(_PREFIX + content, _suffixes(array, chosen), chosen)


def _suffixes(array: np.ndarray, options: Options) -> list[str]:
    """What stands behind the content: no list tells the shape of an empty tensor, nor its dtype."""
    obvious = {options.default_dtype} if not array.size else {options.default_dtype, "int64", "bool"}
    suffixes = []
    if (not array.size and array.ndim != 1) or (array.size and not options.edge_items):
        suffixes.append(f"size={tuple(array.shape)}")
    return suffixes if array.dtype.name in obvious else [*suffixes, f"dtype=torch.{array.dtype.name}"]


def _with_suffixes(text: str, suffixes: list[str], options: Options) -> str:
    length = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if length + len(suffix) + 2 > options.line_width:
            text += ",\n" + " " * len(_PREFIX) + suffix
            length = len(_PREFIX) + len(suffix)
        else:
            text += ", " + suffix
            length += len(suffix) + 2
    return text + ")"


def _content(array: np.ndarray, options: Options) -> str:
    is_summary = array.size > options.threshold
    shown = array[np.ix_(*(_shown(size, options) for size in array.shape))] if is_summary else array
    style = _float_style(shown, options) if array.dtype.kind == "f" else _whole_style(shown)
    return _nested(array, len(_PREFIX), is_summary, style, options)


def _shown(size: int, options: Options) -> list[int]:
    """The places of a dimension that a summary shows."""
    edge = options.edge_items
    return list(range(size)) if size <= 2 * edge else [*range(edge), *range(size - edge, size)]


def _nested(array: np.ndarray, indent: int, is_summary: bool, style: Style, options: Options) -> str:
    """One dimension in brackets, the dimensions below it one column further in."""
    if not array.ndim:
        return style.padded(array.item())
    is_cut = is_summary and len(array) > 2 * options.edge_items
    if array.ndim == 1:
        return _line(array, indent, is_summary, style, options)
    rows = [_nested(array[place], indent + 1, is_summary, style, options) for place in _rows(array, is_cut, options)]
    if is_cut:
        rows.insert(options.edge_items, "...")
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(rows) + "]"


def _rows(array: np.ndarray, is_cut: bool, options: Options) -> list[int]:
    return _shown(len(array), options) if is_cut else list(range(len(array)))


def _line(array: np.ndarray, indent: int, is_summary: bool, style: Style, options: Options) -> str:
    """The innermost dimension, broken into lines."""
    edge = options.edge_items
    fields = list(_fields(array, is_summary and len(array) > 2 * edge, style, options))
    if is_summary and not edge:
        fields = ["..."]
    per_line = max(1, math.floor((options.line_width - indent) / (style.width + 2)))
    lines = [", ".join(fields[start : start + per_line]) for start in range(0, len(fields), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _fields(array: np.ndarray, is_cut: bool, style: Style, options: Options) -> Iterator[str]:
    for count, place in enumerate(_rows(array, is_cut, options)):
        if is_cut and count == options.edge_items:
            yield " ..."
        yield style.padded(array[place].item())


@dataclass(frozen=True, slots=True)
class Style:
    """How one number is written, and how wide the widest is."""

    write: Callable[[Any], str]
    width: int

    def padded(self, value: Any) -> str:
        """The number, on the right of its column."""
        return self.write(value).rjust(self.width)


def _whole_style(array: np.ndarray) -> Style:
    return Style(str, max((len(str(value)) for value in array.reshape(-1).tolist()), default=1))


def _float_style(array: np.ndarray, options: Options) -> Style:
    """Whole numbers as `2.`, else four digits; with exponents where numbers are far apart, large or small.

    Zeros, infinities and nan do not count: not for the style, nor for the width.
    """
    values = array[np.isfinite(array) & (array != 0)]
    if not values.size:
        return Style(_whole_float, 1)
    sizes = np.abs(values.astype(np.float64))
    least, most = float(sizes.min()), float(sizes.max())
    is_wide = most / least > 1000.0 or most > 1.0e8 or least < 1.0e-4
    with_exponents = is_wide if options.sci_mode is None else options.sci_mode
    write: Callable[[float], str]
    if with_exponents:
        write = f"{{:.{options.precision}e}}".format
    elif np.array_equal(values, np.ceil(values)):
        write = _whole_float
    else:
        write = f"{{:.{options.precision}f}}".format
    return Style(write, max(1, *(len(write(value)) for value in values.tolist())))


def _whole_float(value: float) -> str:
    return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"
