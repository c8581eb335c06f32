"""Methods that change the shape of a tensor in place: the view of another shape takes the tensor's place everywhere.

    z = {"y": y}
    y.unsqueeze_(0)             # y = z["y"] = y.unsqueeze(0), wherever this path holds the tensor

All paths share the fake tensors, so the tensor itself stays as it is; the state of this path is copied with the view in
its place. Who else knows the tensor by its identity, a caller above all, would not see that: then it is refused.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UnsupportedError
from dycl.passes.specialize import parting
from dycl.passes.specialize.builtins import model
from dycl.passes.specialize.state import State
from dycl.passes.specialize.walker import Walker

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


@model(
    torch.Tensor.squeeze_,
    torch.Tensor.unsqueeze_,
    torch.Tensor.t_,
    torch.Tensor.transpose_,
    torch.Tensor.swapaxes_,
    torch.Tensor.swapdims_,
)
def _viewed(machine: Machine, tensor: Any, *args: Any, native: Any, **kwargs: Any) -> Any:
    _check(machine, tensor, native.__name__)
    view = getattr(torch.Tensor, native.__name__.removesuffix("_"))
    return _replaced(machine, tensor, machine.recorder.call(view, (tensor, *args), kwargs))


@model(torch.Tensor.resize_, torch.Tensor.resize_as_)
def _resized(machine: Machine, tensor: Any, *args: Any, native: Any, **kwargs: Any) -> Any:
    """As a view of its first elements; more of them than there are would be whatever lies in memory."""
    shape = args[0].shape if native is torch.Tensor.resize_as_ else args
    sizes = list(shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape)
    is_known = all(type(size) is int for size in (*sizes, *tensor.shape)) and not kwargs
    if not (is_known and tensor.is_contiguous() and math.prod(sizes) <= tensor.numel()):
        raise _refused(machine, native.__name__, "to a size that is larger, or that only the run knows")
    _check(machine, tensor, native.__name__)
    flat = machine.recorder.call(torch.Tensor.view, (tensor, -1), {})
    first = machine.recorder.call(torch.Tensor.narrow, (flat, 0, 0, math.prod(sizes)), {})
    return _replaced(machine, tensor, machine.recorder.call(torch.Tensor.view, (first, sizes), {}))


def _replaced(machine: Machine, tensor: Any, view: Any) -> Any:
    machine.reshaped.append((tensor, view))
    return view


def _check(machine: Machine, tensor: Any, name: str) -> None:
    """Refuse a tensor that somebody else knows by its identity."""
    if not isinstance(tensor, FakeTensor) or any(tensor is weight for weight in machine.stateful_fakes.values()):
        raise _refused(machine, name, "of a tensor that the model holds")
    root, memory = tensor._dycl_root, machine.memory_of(tensor)  # type: ignore[attr-defined]
    if root in machine.input_roots:
        raise _refused(machine, name, "of an input, which the caller would see")
    if any(tensor is given for given in machine.given_tensors()):
        raise _refused(machine, name, "of a tensor that a recursive function is handed")
    if memory in machine.state.listed or machine.is_linked(memory):
        raise _refused(machine, name, "of a tensor that lies in a list of run-time length, or shares memory with numpy")
    machine.carried.write(machine, (root,))
    parting.check_whole(machine, tensor)


def _refused(machine: Machine, name: str, what: str) -> UnsupportedError:
    return UnsupportedError(
        "DY211",
        machine.loc(),
        f"the metadata of a tensor is changed in place ({name} {what})",
        hint="use the form that returns a new tensor, for example squeeze() for squeeze_()",
    )


def settle(machine: Machine, state: State) -> None:
    """Put the views that an instruction has made in the place of what they are views of."""
    views = {machine.current_vid(tensor): view for tensor, view in machine.reshaped}
    machine.reshaped = []
    machine.resume(state, Walker(machine, state, retensor=views).state())
