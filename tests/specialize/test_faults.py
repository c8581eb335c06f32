"""A mistake of the machine is reported as one; it never becomes an exception of the model."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._sympy.numbers import int_oo

from dycl.diagnostics import InternalError
from dycl.passes.specialize import instructions
from dycl.passes.specialize.specializer import specialize


class Guarded(nn.Module):
    """A model whose handlers would take any exception for its own."""

    def forward(self, x):
        try:
            return x + 1
        except Exception:
            return x - 1


def missing_name(machine, frame, ins):
    return no_such_name  # noqa: F821


def missing_attribute(machine, frame, ins):
    return machine.no_such_attribute


def wrong_call(machine, frame, ins):
    return machine.name_value()


def number_of_infinity(machine, frame, ins):
    return int(int_oo - 1)


@pytest.mark.parametrize("fault", [missing_name, missing_attribute, wrong_call, number_of_infinity])
def test_a_fault_is_internal(fault, monkeypatch):
    code = fault.__code__.replace(co_filename=instructions.__file__)
    broken = type(fault)(code, fault.__globals__)
    for kind in list(instructions.HANDLERS):
        if kind.__name__ == "Binary":
            monkeypatch.setitem(instructions.HANDLERS, kind, broken)
    with pytest.raises(InternalError, match="specialize"):
        specialize(Guarded(), (torch.zeros(2),))


class RaisesOfItsOwn(nn.Module):
    """The model's own NameError, AttributeError, TypeError and AssertionError, all caught by the model."""

    def forward(self, x):
        caught = []
        try:
            undefined_here  # noqa: B018
        except NameError as error:
            caught.append(type(error).__name__)
        try:
            x.no_such_attribute  # noqa: B018
        except AttributeError as error:
            caught.append(type(error).__name__)
        try:
            len(3)
        except TypeError as error:
            caught.append(type(error).__name__)
        try:
            assert not caught, "full"
        except AssertionError as error:
            caught.append(str(error))
        return x, caught


def test_the_models_own_exceptions_stay_its_own():
    from dycl.ir.executor import Executor

    made = specialize(RaisesOfItsOwn(), (torch.zeros(2),))
    # eager's own assertion would be rewritten by pytest, so what it catches is written out
    expected = ["NameError", "AttributeError", "TypeError", "full"]
    assert Executor(made.program, made.environment).call(torch.zeros(2))[1] == expected
