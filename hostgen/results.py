"""What some hosts make of arrays, and results that are dicts with attributes. Copied where a host names any of it."""

from __future__ import annotations

from typing import Any

import numpy as np


class RecordMapping(dict[str, Any]):
    """A dict whose items can also be read as attributes and, by position, as in a tuple."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """The items, without their names."""
        return tuple(self.values())


def in_place(ufunc: np.ufunc, array: np.ndarray, other: Any) -> np.ndarray:
    """What `array += other` does, and its likes; the array itself."""
    ufunc(array, other, out=array)
    return array


def array_of_objects(shape: tuple[int, ...], items: list[Any]) -> np.ndarray:
    """An array of these objects as they are: numpy would take apart those that have a length."""
    made = np.empty(shape, object)
    for index, item in zip(np.ndindex(shape), items, strict=True):
        made[index] = item
    return made


def as_tensor(array: np.ndarray) -> np.ndarray:
    """What stands for `torch.from_numpy(array)`: torch takes no negative strides."""
    if any(stride < 0 for stride in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not "
            "currently supported. (You can probably work around this by making a copy of your array  with "
            "array.copy().) "
        )
    return array
