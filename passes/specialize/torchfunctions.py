"""Calls of torch that are interpreted from another source where their sizes are run-time numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.utils import rnn

from dycl.passes.specialize import torchmodels
from dycl.passes.specialize.builtins import Interpret, model
from dycl.passes.specialize.lists import wrap
from dycl.passes.specialize.ordering import extremum_of_numbers
from dycl.passes.specialize.values import Generator, RuntimeList, Scalar

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


def _number(machine: Machine, size: Any) -> Any:
    """A size that a tensor of one integer holds as the number that it is."""
    is_tensor = isinstance(size, FakeTensor) and size.dim() == 0 and size.dtype in (torch.int64, torch.int32)
    return machine.item(size) if is_tensor else size


@wrap(nn.utils.rnn.pad_sequence)
def _pad_sequence(
    machine: Machine,
    sequences: Any,
    batch_first: Any = False,
    padding_value: Any = 0.0,
    padding_side: Any = "right",
    *,
    native: Any,
) -> Any:
    is_static = not isinstance(sequences, (RuntimeList, Generator)) and not machine.has_symbols(sequences)
    if is_static or padding_side not in ("left", "right"):
        return NotImplemented
    if type(sequences) not in (list, tuple):
        return Interpret(torchmodels.pad_sequence, (sequences, batch_first, padding_value, padding_side == "left"))
    sizes = [
        machine.scalar_of(row.shape[0]) if isinstance(row.shape[0], torch.SymInt) else row.shape[0] for row in sequences
    ]
    longest, padded = extremum_of_numbers(machine, sizes, "max"), []
    for row, size in zip(sequences, sizes, strict=True):
        missing = machine.host("sub", longest, size)
        ends = [0, missing] if padding_side == "right" else [missing, 0]
        widths = [0, 0] * (row.dim() - 1) + ends
        padded.append(machine.native(torch.nn.functional.pad, (row, widths), {"value": padding_value}))
    return machine.native(torch.stack, (padded, 0 if batch_first else 1), {})


# ---------------------------------------------------------------- pieces, classes


@wrap(torch.split, torch.functional.split, torch.Tensor.split)
def _split(machine: Machine, tensor: Any, split_size: Any = None, dim: Any = 0, *, native: Any, **kwargs: Any) -> Any:
    size = _number(machine, kwargs.get("split_size_or_sections", split_size))
    return Interpret(torchmodels.split, (tensor, size, dim)) if isinstance(size, Scalar) else NotImplemented


@wrap(torch.chunk, torch.Tensor.chunk)
def _chunk(machine: Machine, tensor: Any, chunks: Any, dim: Any = 0, *, native: Any) -> Any:
    chunks = _number(machine, chunks)
    if isinstance(chunks, Scalar):
        return Interpret(torchmodels.chunk, (tensor, chunks, dim))
    is_fitting = isinstance(tensor, FakeTensor) and type(dim) is int and -tensor.dim() <= dim < tensor.dim()
    if not is_fitting or type(chunks) is not int or chunks < 1 or isinstance(tensor.shape[dim], int):
        return NotImplemented
    return Interpret(torchmodels.chunk_rows, (tensor, chunks, dim))


@wrap(nn.functional.one_hot)
def _one_hot(machine: Machine, tensor: Any, num_classes: Any = -1, *, native: Any) -> Any:
    classes = _number(machine, num_classes)
    is_integer = isinstance(tensor, FakeTensor) and tensor.dtype == torch.int64
    if not is_integer or not (isinstance(classes, Scalar) or classes == -1):
        return NotImplemented
    return Interpret(torchmodels.one_hot, (tensor, classes))


# ---------------------------------------------------------------- interpolation

_MODES = {"nearest": (3, 4, 5), "nearest-exact": (3, 4, 5), "linear": (3,), "bilinear": (4,), "trilinear": (5,)}


@wrap(nn.functional.interpolate)
def _interpolate(
    machine: Machine,
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: Any = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: Any = False,
    *,
    native: Any,
) -> Any:
    is_taken = isinstance(input, FakeTensor) and input.is_floating_point() and input.dim() in _MODES.get(mode, ())
    is_said_in_vain = align_corners is not None and mode.startswith("nearest")  # an error, which torch words
    if not is_taken or is_said_in_vain or antialias or (size is None) == (scale_factor is None):
        return NotImplemented
    places = range(input.dim() - 2)
    wanted = scale_factor if size is None else size
    given = list(wanted) if isinstance(wanted, (list, tuple)) else [wanted for _ in places]
    given = [_number(machine, one) for one in given]
    is_runtime = any(isinstance(one, (Scalar, torch.SymInt)) for one in given)
    if size is None:
        is_runtime = is_runtime or machine.has_symbols(input)
    if not is_runtime or len(given) != len(places):
        return NotImplemented
    factors = given if size is None and not recompute_scale_factor else None
    sizes = given
    if size is None and recompute_scale_factor:
        return NotImplemented
    return Interpret(
        torchmodels.interpolate, (input, None if size is None else sizes, factors, mode, bool(align_corners))
    )


# ---------------------------------------------------------------- packed sequences


@model(rnn.pack_padded_sequence)
def _pack(
    machine: Machine, input: Any, lengths: Any, batch_first: Any = False, enforce_sorted: Any = True, *, native: Any
) -> Any:
    return Interpret(torchmodels.pack_padded_sequence, (input, lengths, batch_first, enforce_sorted))


@model(rnn.pack_sequence)
def _pack_sequence(machine: Machine, sequences: Any, enforce_sorted: Any = True, *, native: Any) -> Any:
    return Interpret(torchmodels.pack_sequence, (sequences, enforce_sorted))


@model(torchmodels.peek)
def _peek(machine: Machine, tensor: Any, *, native: Any) -> Any:
    return machine.element(tensor, None, function="peek")


@model(torchmodels.first_is)
def _first_is(machine: Machine, tensor: Any, number: Any, *, native: Any) -> None:
    machine.state.facts.results["item", machine.current_vid(tensor), 0] = number


@model(torchmodels.at_least)
def _at_least(machine: Machine, number: Any, least: int, *, native: Any) -> None:
    if isinstance(number, Scalar):
        machine.state.facts.learn(sympy.Ge(machine.symbolic(number).node.expr, least), True)


@model(rnn.pad_packed_sequence)
def _unpack(
    machine: Machine,
    sequence: Any,
    batch_first: Any = False,
    padding_value: Any = 0.0,
    total_length: Any = None,
    *,
    native: Any,
) -> Any:
    return Interpret(torchmodels.pad_packed_sequence, (sequence, batch_first, padding_value, total_length))


# What a padded step adds to the input, forget, cell and output gates of an LSTM: nothing new comes in, all is kept.
_KEEP = (-1.0, 1.0, 0.0, 0.0)


@wrap(torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)
def _recurrence(machine: Machine, data: Any, counts: Any, *args: Any, native: Any) -> Any:
    if not isinstance(counts, torch.Tensor) or len(args) != 7:
        return NotImplemented
    state, weights, has_biases, layers, dropout, is_training, is_bidirectional = args
    if isinstance(state, list):
        return NotImplemented
    if is_training and dropout and layers > 1:
        raise machine.random_operation("dropout between the layers of a recurrent module")
    gates = _KEEP if native is torch.lstm else ()
    return Interpret(
        torchmodels.packed_recurrence,
        (native, gates, data, counts, state, weights, has_biases, 2 if is_bidirectional else 1),
    )
