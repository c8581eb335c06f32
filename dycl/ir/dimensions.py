"""Which sizes and numbers of the inputs a call chooses: `x:0=batch[1:64]`, or `dynamic_shapes` as torch.export has it.

Always in one form in the end, `DynamicInputs`: the leaves of the inputs by their paths (`x`, `batch.mask`, `pair.0`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dycl.diagnostics import UNKNOWN, UsageError
from dycl.ir.program import Dimension

_NUMBER = re.compile(r"(?P<path>[\w.]+)(?:\[(?P<low>-?\d*):(?P<high>-?\d*)\])?")
_OPTION = re.compile(r"(?P<path>[\w.]+):(?P<dim>\d+)=(?P<name>\w+)(?:\[(?P<low>\d*):(?P<high>\d*)\])?")
_EXPORT_ENDLESS = 2**31  # an upper bound of torch.export that is none


@dataclass(frozen=True, slots=True)
class DynamicInputs:
    """The dimensions that have a name instead of a size, by path and position; the numbers that are no constants.

    `bounds`: the least and the greatest of these numbers, by path, for those that have any.
    """

    dims: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    dimensions: tuple[Dimension, ...] = ()
    numbers: frozenset[str] = frozenset()
    bounds: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)


STATIC = DynamicInputs()


def _bad(message: str, hint: str = "") -> UsageError:
    return UsageError("DY505", UNKNOWN, message, hint=hint)


class _Collector:
    """Takes dimensions one by one; the same name means the same size, so its ranges must agree."""

    def __init__(self) -> None:
        self.dims: dict[str, dict[int, str]] = {}
        self.dimensions: dict[str, Dimension] = {}
        self._with_range: set[str] = set()

    def add(self, path: str, dim: int, name: str, low: int | None, high: int | None) -> None:
        """Name one dimension of the leaf at a path."""
        if not name.isidentifier() or re.fullmatch(r"[usz]f?\d+", name):
            raise _bad(f"a dimension cannot be called {name!r}", "take a word, as in 'batch'")
        known = self.dimensions.get(name) if (low, high) == (None, None) or name in self._with_range else None
        if known is not None and (low, high) == (None, None):
            low, high = known.low, known.high
        elif (low, high) != (None, None):
            self._with_range.add(name)
        made = Dimension(name, 1 if low is None else low, high)
        if known is not None and known != made:
            raise _bad(f"the dimension {name} has two ranges, {known.interval} and {made.interval}")
        if made.low < 0 or (made.high is not None and made.high < made.low):
            raise _bad(f"the range {made.interval} of the dimension {name} is empty")
        if dim in self.dims.setdefault(path, {}):
            raise _bad(f"dimension {dim} of {path} is named twice")
        self.dims[path][dim] = name
        self.dimensions[name] = made

    def result(self, numbers: Iterable[str]) -> DynamicInputs:
        """Everything that was added."""
        dims = {path: dict(sorted(named.items())) for path, named in self.dims.items()}
        found = dict(map(_read_number, numbers))
        bounds = {path: ends for path, ends in found.items() if ends != (None, None)}
        return DynamicInputs(dims, tuple(self.dimensions.values()), frozenset(found), bounds)


def _read_number(text: str) -> tuple[str, tuple[int | None, int | None]]:
    """A number that each call gives, and its bounds: `n`, `n[0:8]`, `n[1:]`."""
    match = _NUMBER.fullmatch(text.replace(" ", ""))
    if match is None:
        raise _bad(f"--dynamic-arg {text!r} is not NAME or NAME[LOW:HIGH]", "as in 'n' or 'n[0:8]'")
    low, high = (int(match[end]) if match[end] else None for end in ("low", "high"))
    if low is not None and high is not None and high < low:
        raise _bad(f"the range {low} to {high} of the number {match['path']} is empty")
    return match["path"], (low, high)


def parse_dynamic(options: Sequence[str], numbers: Sequence[str]) -> DynamicInputs:
    """What the options `--dynamic` and `--dynamic-arg` say."""
    found = _Collector()
    for option in options:
        match = _OPTION.fullmatch(option.replace(" ", ""))
        if match is None:
            raise _bad(
                f"--dynamic {option!r} is not INPUT:DIM=NAME[LOW:HIGH]", "as in 'x:0=batch[1:64]' or 'x:1=length'"
            )
        low, high = (int(match[end]) if match[end] else None for end in ("low", "high"))
        found.add(match["path"], int(match["dim"]), match["name"], low, high)
    return found.result(numbers)


def read_dynamic(shapes: object, names: Sequence[str], numbers: Sequence[str] = ()) -> DynamicInputs:
    """What `dynamic_shapes` says, by the names of the parameters or in their order, nested as the inputs are."""
    found = _Collector()
    if isinstance(shapes, tuple | list):
        shapes = dict(zip(names, shapes, strict=False))
    if shapes is not None and not isinstance(shapes, Mapping):
        raise _bad("dynamic_shapes is a dict from the names of the inputs to their dimensions")
    for name, spec in (shapes or {}).items():
        if name not in names:
            raise _bad(f"dynamic_shapes: there is no input {name!r}", f"inputs: {', '.join(names)}")
        _read(found, str(name), spec)
    return found.result(numbers)


def _read(found: _Collector, path: str, spec: object) -> None:
    if spec is None:
        return
    if isinstance(spec, Mapping) and all(isinstance(key, int) for key in spec):
        for dim, size in spec.items():
            _read_dim(found, path, dim, size)
    elif isinstance(spec, Mapping):
        for key, item in spec.items():
            _read(found, f"{path}.{key}", item)
    elif isinstance(spec, tuple | list) and all(item is None or _is_dim(item) for item in spec):
        for dim, size in enumerate(spec):
            _read_dim(found, path, dim, size)
    elif isinstance(spec, tuple | list):
        for index, item in enumerate(spec):
            _read(found, f"{path}.{index}", item)
    else:
        raise _bad(f"dynamic_shapes: {spec!r} does not say which dimensions of {path} have which names")


def _is_dim(item: object) -> bool:
    return isinstance(item, str | int | Dimension) or type(item).__module__.startswith("torch.export")


def _read_dim(found: _Collector, path: str, dim: int, size: Any) -> None:
    hint = getattr(size, "type", None)
    if size is None or isinstance(size, int) or getattr(hint, "name", "") == "STATIC":
        return
    if isinstance(size, str):
        found.add(path, dim, size, None, None)
    elif isinstance(size, Dimension):
        found.add(path, dim, size.name, size.low, size.high)
    elif getattr(hint, "name", "") in ("AUTO", "DYNAMIC"):
        found.add(path, dim, f"{path.replace('.', '_')}_{dim}", getattr(size, "min", None), getattr(size, "max", None))
    elif hasattr(size, "__name__") and hasattr(size, "min") and not hasattr(size, "root"):
        high = size.max if isinstance(size.max, int) and size.max < _EXPORT_ENDLESS else None
        found.add(path, dim, size.__name__, size.min or None, high)
    else:
        raise _bad(
            f"dynamic_shapes: {size!r} cannot be the size of dimension {dim} of {path}", "give it a name of its own"
        )


def add_defaults(bound: inspect.BoundArguments, dynamic: DynamicInputs) -> None:
    """Give the numbers that each call gives the values of their defaults, where an example leaves them out."""
    missing = {
        name: parameter.default
        for name, parameter in bound.signature.parameters.items()
        if name in dynamic.numbers and name not in bound.arguments and parameter.default is not inspect.Parameter.empty
    }
    given = {**bound.arguments, **missing}
    bound.arguments = {name: given[name] for name in bound.signature.parameters if name in given}
