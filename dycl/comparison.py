"""Whether two results agree: nested values compared leaf by leaf, tensors and arrays alike.

Arrays must have equal dtypes and shapes, floating values agree within the tolerance (NaN with NaN), all else is exact.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from dycl.ir.structures import is_instance

RTOL, ATOL = 1e-3, 1e-4


@dataclass(slots=True)
class Comparison:
    """What was found so far: the largest errors over all floating values, and every difference in words.

    What lies at an `ignored` path is not compared.
    """

    rtol: float = RTOL
    atol: float = ATOL
    max_abs_error: float = 0.0
    max_rel_error: float = 0.0
    differences: list[str] = field(default_factory=list)
    ignored: frozenset[str] = frozenset()

    def compare(self, expected: object, actual: object, path: str) -> bool:
        """Compare two values; True if they agree."""
        before = len(self.differences)
        self._compare(expected, actual, path)
        return len(self.differences) == before

    def _compare(self, expected: object, actual: object, path: str) -> None:
        if path in self.ignored:
            return
        if isinstance(expected, torch.device | torch.dtype):
            expected = str(expected)  # as a host without torch has it
        if _is_array(expected) or _is_array(actual):
            self._compare_arrays(expected, actual, path)
            return
        expected_fields, actual_fields = as_fields(expected), as_fields(actual)
        if expected_fields is not None and actual_fields is not None:
            self._compare_fields(expected_fields, actual_fields, type(expected), type(actual), path)
        elif isinstance(expected, float) and isinstance(actual, float):
            self._compare_floats(np.asarray(expected), np.asarray(actual), path)
        elif type(expected) is not type(actual) or expected != actual:
            self.differences.append(f"{path}: {expected!r} expected, {actual!r} found")

    def _compare_fields(
        self, expected: dict[str, object], actual: dict[str, object], kind: type, other: type, path: str
    ) -> None:
        if _family(kind) != _family(other):
            self.differences.append(f"{path}: {kind.__name__} expected, {other.__name__} found")
        elif list(expected) != list(actual):
            self.differences.append(f"{path}: {list(expected)} expected, {list(actual)} found")
        else:
            for name, value in expected.items():
                self._compare(value, actual[name], f"{path}{name}")

    def _compare_arrays(self, expected: object, actual: object, path: str) -> None:
        if not (_is_array(expected) and _is_array(actual)):
            self.differences.append(f"{path}: {_describe(expected)} expected, {_describe(actual)} found")
            return
        left, right = as_array(expected), as_array(actual)
        if _describe(expected) != _describe(actual):
            self.differences.append(f"{path}: {_describe(expected)} expected, {_describe(actual)} found")
        elif left.dtype.hasobject:
            for index in np.ndindex(left.shape):
                self._compare(left[index], right[index], f"{path}{list(index)}")
        elif left.dtype.kind in "fc":
            self._compare_floats(left, right, path)
        elif not np.array_equal(left, right):
            count = int(np.sum(left != right))
            self.differences.append(f"{path}: {count} of {left.size} values differ")

    def _compare_floats(self, expected: np.ndarray, actual: np.ndarray, path: str) -> None:
        close = np.isclose(actual, expected, rtol=self.rtol, atol=self.atol, equal_nan=True)
        finite = np.isfinite(expected) & np.isfinite(actual)
        wide = np.complex128 if expected.dtype.kind == "c" else np.float64
        left, right = expected[finite].astype(wide), actual[finite].astype(wide)
        error = float(np.max(np.abs(left - right), initial=0.0))
        scale = np.maximum(np.abs(left), self.atol)
        relative = float(np.max(np.abs(left - right) / scale, initial=0.0))
        self.max_abs_error = max(self.max_abs_error, error)
        self.max_rel_error = max(self.max_rel_error, relative)
        if not bool(np.all(close)):
            count = int(np.sum(~close))
            self.differences.append(
                f"{path}: {count} of {expected.size} values differ, by up to {error:.3g} ({relative:.3g} relative)"
            )


def _is_array(value: object) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray | np.generic)


def as_array(value: object) -> np.ndarray:
    """The tensor or array as an array; bfloat16, which numpy lacks, widened to float32."""
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu().resolve_conj().resolve_neg()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return np.asarray(value)


def _describe(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype.name}{list(value.shape)}"
    return type(value).__name__


def as_fields(value: object) -> dict[str, object] | None:
    """A container's items by the text that selects them (`[0]`, `['x']`, `.logits`); None for a leaf."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {f".{name}": item for name, item in zip(value._fields, value, strict=True)}
    if isinstance(value, tuple | list | deque):
        return {f"[{index}]": item for index, item in enumerate(value)}
    if isinstance(value, Mapping):
        return {f"[{key!r}]": item for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f".{item.name}": getattr(value, item.name) for item in dataclasses.fields(value)}
    if is_instance(value):
        return {f".{name}": item for name, item in vars(value).items()} if hasattr(value, "__dict__") else None
    return None


def _family(kind: type) -> str:
    """Containers agree within a family; a host has its own class where the original cannot be imported."""
    for base, name in ((list | deque, "list"), (Mapping, "mapping"), (tuple, "tuple")):
        if issubclass(kind, base):
            return "record" if hasattr(kind, "_fields") else name
    return "record"


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of a nested value with the paths to them."""
    fields = as_fields(value)
    if fields is None:
        yield path, value
        return
    for name, item in fields.items():
        yield from leaves(item, f"{path}{name}")
