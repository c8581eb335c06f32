"""The machine's numpy arrays: references to arrays that the host has at run time, with dtype and shape known here."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.ir.trees import leaves
from dycl.ir.values import ArrayForm
from dycl.passes.specialize.values import Active, RuntimeList, Scalar


class Array:
    """A numpy array or scalar that is known at run time only. It never changes: what it stands for does.

    `fake` carries dtype, shape and its name in the program. `form` says what holds the numbers: an array, a
    `np.float32` and the like, or an array of objects that are Python's own numbers.
    """

    __slots__ = ("fake", "form")
    __array_ufunc__ = None  # numpy's own arrays leave operators to this class
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, fake: FakeTensor, form: ArrayForm) -> None:
        self.fake = fake
        self.form = form

    @property
    def is_scalar(self) -> bool:
        """Whether it is one of numpy's scalars."""
        return self.form is ArrayForm.SCALAR

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise Active.get().native_text_refused()

    def __repr__(self) -> str:
        if Active.machine is not None:
            raise Active.machine.native_text_refused()
        return f"<run-time array {self.fake.dtype}{tuple(self.fake.shape)}>"

    def __str__(self) -> str:
        raise Active.get().native_text_refused()

    def __format__(self, spec: str) -> str:
        raise Active.get().native_text_refused()

    def __bool__(self) -> bool:
        machine = Active.get()
        return machine.truth(machine.array_number(self, "the truth value of an array"))

    def __len__(self) -> int:
        return int(Active.get().concrete(Active.get().array_length(self)))

    def __index__(self) -> int:
        machine = Active.get()
        return int(machine.concrete(machine.array_number(self, "an array as an index")))

    def __int__(self) -> int:
        machine = Active.get()
        return int(machine.concrete(machine.convert(int, machine.array_number(self, "int() of an array"))))

    def __float__(self) -> float:
        machine = Active.get()
        return float(machine.concrete(machine.convert(float, machine.array_number(self, "float() of an array"))))

    def __iter__(self) -> Any:
        return iter(Active.get().array_rows(self))

    def __contains__(self, item: Any) -> bool:
        machine = Active.get()
        return machine.truth(machine.array_call("contains", (self, item), {}))

    def __getitem__(self, index: Any) -> Any:
        return Active.get().array_item(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        Active.get().store_array_item(self, index, value)


def class_of_array(array: Array) -> type:
    """The class that the model would see."""
    return number_dtype(array).type if array.is_scalar else np.ndarray


def number_dtype(array: Array) -> np.dtype[Any]:
    """The dtype of its numbers in numpy's terms."""
    return np.dtype(str(array.fake.dtype).removeprefix("torch."))


def array_dtype(array: Array) -> np.dtype[Any]:
    """The dtype that the array has in the source."""
    return np.dtype(object) if array.form is ArrayForm.OBJECTS else number_dtype(array)


def _binary(name: str) -> tuple[Any, Any, Any]:
    def forward(self: Array, other: Any) -> Any:
        return Active.get().array_operator(name, self, other)

    def backward(self: Array, other: Any) -> Any:
        return Active.get().array_operator(name, other, self)

    def in_place(self: Array, other: Any) -> Any:
        return Active.get().array_in_place(name, self, other)

    return forward, backward, in_place


def _unary(name: str) -> Any:
    return lambda self: Active.get().array_call(f"operator.{name}", (self,), {})


for _name in (
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lshift",
    "rshift",
    "and_",
    "or_",
    "xor",
):
    _forward, _backward, _in_place = _binary(_name)
    setattr(Array, f"__{_name.strip('_')}__", _forward)
    setattr(Array, f"__r{_name.strip('_')}__", _backward)
    setattr(Array, f"__i{_name.strip('_')}__", _in_place)
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Array, f"__{_name}__", _binary(_name)[0])
for _name in ("neg", "pos", "invert", "abs"):
    setattr(Array, f"__{_name}__", _unary(_name))


def array_root(array: np.ndarray) -> np.ndarray:
    """The array that holds the memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def has_runtime(value: Any) -> bool:
    """Whether anything in the arguments of a call is known at run time only."""
    return any(isinstance(leaf, (Array, Scalar, FakeTensor, RuntimeList, torch.SymInt)) for leaf in leaves(value))
