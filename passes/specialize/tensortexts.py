"""The text of a tensor: an operation of the host, which writes what torch would write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from dycl.diagnostics import UnsupportedError
from dycl.ir.printing import Options
from dycl.ir.values import Lit, ScalarKind
from dycl.passes.specialize.values import Scalar, Text, TextPart

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

PRINTED = frozenset(
    {torch.float16, torch.float32, torch.float64, torch.bool, torch.uint8}
    | {torch.int8, torch.int16, torch.int32, torch.int64}
)


def formatted_tensor(machine: Machine, tensor: torch.Tensor, conversion: str, spec: str) -> Any:
    """One field of a text: of a tensor without dimensions its number, unless a conversion asks for its text."""
    if not isinstance(tensor := machine.substituted(tensor), FakeTensor):
        return machine.formatted(_text_of_weight(tensor), "", spec)
    if not conversion and not tensor.dim():
        return machine.formatted(machine.recorder.item(tensor), "", spec)
    if not conversion and spec:
        raise TypeError(f"unsupported format string passed to {torch.Tensor.__name__}.__format__")
    return machine.formatted(_text(machine, tensor), "", spec)


def _text_of_weight(tensor: torch.Tensor) -> str:
    with unset_fake_temporarily(), torch._C.DisableTorchFunction():
        return repr(tensor)


def _text(machine: Machine, tensor: FakeTensor) -> Text:
    """The text of a tensor of the run."""
    if tensor.dtype not in PRINTED or tensor.device.type != "cpu" or tensor.layout is not torch.strided:
        what = f"the text of a tensor of {tensor.dtype} on {tensor.device}"
        raise UnsupportedError("DY203", machine.loc(), what, hint="format tensors of common dtypes on the CPU")
    if tensor.requires_grad or any(tensor is kept for kept in machine.stateful_fakes.values()):
        what = "the text of a tensor that is a weight or requires a gradient"
        raise UnsupportedError("DY203", machine.loc(), what, hint="format its detach().clone()")
    options = _options()
    call = ("tensor_text", machine.current_vid(tensor), options)
    found, out = machine.replayed(call)
    if not found:
        operands = (machine.operand(tensor), *(Lit(option) for option in options))
        out = machine.host_op("printing.tensor_text", operands, ScalarKind.STR)
        machine.log(call, out)
    assert isinstance(out, Scalar)
    return Text.of(TextPart(out, "", ""))


def _options() -> tuple[Any, ...]:
    """How torch prints in this process, as the artifact will: nothing where all is as usual."""
    set_now = torch._tensor_str.PRINT_OPTS
    found = (
        str(torch.get_default_dtype()).removeprefix("torch."),
        *(set_now.precision, set_now.threshold, set_now.edgeitems, set_now.linewidth, set_now.sci_mode),
    )
    usual = Options()
    return () if Options(*found) == usual else found
