"""Names of torch's functions and constants lead to live objects, and back."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from dycl.diagnostics import InternalError
from dycl.ir.resolve import function_name, resolve_function, resolve_torch, torch_text

FUNCTIONS = [
    "torch.relu",
    "torch.Tensor.add_",
    "torch.Tensor.__setitem__",
    "torch.Tensor.__radd__",
    "torch.Tensor.real.__get__",
    "torch.Tensor.data.__set__",
    "torch._C._nn.gelu",
    "torch._VF.lstm",
    "torch._assert_async",
    "torch.nn.functional.max_pool2d",
    "torch.nn.functional.softmax",
    "torch.nn.functional.scaled_dot_product_attention",
    "torch.special.expm1",
    "torch.linalg.norm",
    "torch.fft.fft",
    "torch.functional.einsum",
    "torch.ops.aten.add.Tensor",
    "torch.ops.aten.add",
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_a_name_that_leads_back(name: str) -> None:
    function = resolve_function(name)
    found = function_name(function)
    assert found is not None
    again = resolve_function(found)
    assert again is function or again == function


def test_every_function_of_torch_that_can_be_overridden_has_a_name() -> None:
    overridable = [f for group in torch.overrides.get_overridable_functions().values() for f in group]
    nameless = [f for f in overridable if function_name(f) is None]
    assert len(overridable) > 1000
    assert nameless == []


def test_names_are_applied() -> None:
    x = torch.tensor([1 + 2j])
    assert resolve_function("torch.Tensor.real.__get__")(x).tolist() == [1.0]


@pytest.mark.parametrize("function", [len, functools.partial(torch.relu), lambda x: x, torch.zeros(2).add_])
def test_a_function_that_is_not_of_torch_has_no_name(function: Any) -> None:
    assert function_name(function) is None


def test_what_cannot_be_hashed_has_no_name() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> None:
            return None

    assert function_name(Unhashable()) is None


CONSTANTS: list[Any] = [
    torch.float32,
    torch.bool,
    torch.qint8,
    torch.device("cpu"),
    torch.device("cuda:0"),
    torch.device("meta"),
    torch.channels_last,
    torch.contiguous_format,
    torch.strided,
    torch.sparse_coo,
    torch.per_tensor_affine,
    torch.nn.attention.SDPBackend.MATH,
]


@pytest.mark.parametrize("constant", CONSTANTS)
def test_a_constant_has_a_text_that_leads_back(constant: Any) -> None:
    text = torch_text(constant)
    assert text is not None
    assert resolve_torch(text) == constant


@pytest.mark.parametrize("value", [3, None, "cpu", torch.relu, torch.zeros(1)])
def test_what_is_no_constant_of_torch_has_no_text(value: Any) -> None:
    assert torch_text(value) is None


@pytest.mark.parametrize("text", ["os.system", "torch.nothing", "torch.nn.nothing.at.all", "torch.pi"])
def test_names_that_lead_nowhere(text: str) -> None:
    with pytest.raises(InternalError, match=text):
        resolve_function(text)


@pytest.mark.parametrize("text", ["torch.", "os.system('x')", "torch.load('x')", "3"])
def test_texts_that_are_no_constants(text: str) -> None:
    with pytest.raises(InternalError):
        resolve_torch(text)
