"""Functions of torch as Python source, for calls whose sizes are run-time numbers: the machine steps into these.

Torch's own kernels take such a size for a number of the compiler, or their rule for the result's shape is another than
the kernel's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence


def pad_sequence(sequences: Any, batch_first: Any, padding_value: Any, is_left: Any) -> Any:
    """`torch.nn.utils.rnn.pad_sequence`."""
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    longest = max([sequence.size(0) for sequence in sequences])
    padded: list[Any] = []
    for sequence in sequences:
        missing = longest - sequence.size(0)
        widths = [0, 0] * (sequence.dim() - 1) + ([missing, 0] if is_left else [0, missing])
        padded.append(torch.nn.functional.pad(sequence, widths, value=padding_value))
    return torch.stack(padded, 0 if batch_first else 1)


# ---------------------------------------------------------------- pieces of a run-time size


def split(tensor: Any, size: Any, dim: Any) -> Any:
    """`torch.split` into pieces of one size."""
    total = tensor.size(dim)
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if size == 0:
        if total != 0:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {total}")
        return (tensor,)
    if total == 0:
        return (tensor,)
    sizes = [size] * (total // size)
    if total % size != 0:
        sizes.append(total % size)
    return torch.split(tensor, sizes, dim)


def chunk(tensor: Any, chunks: Any, dim: Any) -> Any:
    """`torch.chunk`: pieces of one size, perhaps fewer than were asked for."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    total = tensor.size(dim)
    if total == 0:
        return torch.split(tensor, [0] * chunks, dim)
    return split(tensor, (total + chunks - 1) // chunks, dim)


def chunk_rows(tensor: Any, chunks: int, dim: int) -> Any:
    """The same for a number of pieces that is known and a size that is not: the last piece is what the others leave."""
    size = tensor.shape[dim]
    length = size // chunks
    if length * chunks != size:
        length = (size + chunks - 1) // chunks
        while (chunks - 1) * length >= size:
            chunks -= 1
    whole = chunks - 1
    return tensor.split([length] * whole + [size - length * whole], dim)


def one_hot(tensor: Any, classes: Any) -> Any:
    """`torch.nn.functional.one_hot`; classes -1: as many as the largest index asks for."""
    if tensor.numel() == 0 and classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    if tensor.numel() != 0:
        if int(tensor.min()) < 0:
            raise RuntimeError("Class values must be non-negative.")
        most = int(tensor.max())
        if classes == -1:
            classes = most + 1
        elif classes < 1:
            raise RuntimeError("num_classes should be positive")
        elif most >= classes:
            raise RuntimeError("Class values must be smaller than num_classes.")
    return (tensor.unsqueeze(-1) == torch.arange(classes)).to(torch.int64)


# ---------------------------------------------------------------- interpolation to a run-time size


def interpolate(tensor: Any, sizes: Any, factors: Any, mode: Any, align_corners: Any) -> Any:
    """`torch.nn.functional.interpolate`: nearest neighbours, or linear in one dimension after the other.

    sizes: of the results, one for each spatial dimension; None: by the factors, which are None where sizes are given.
    """
    names = ["D", "H", "W"][5 - tensor.dim() :]
    before = [tensor.size(place + 2) for place in range(len(names))]
    if sizes is None:
        sizes = [_scaled(size, factor) for size, factor in zip(before, factors, strict=True)]
    for old, new in zip(before, sizes, strict=True):
        if old <= 0 or new <= 0:
            was = ", ".join([f"{name}: {size}" for name, size in zip(names, before, strict=True)])
            wanted = ", ".join([f"{name}: {size}" for name, size in zip(names, sizes, strict=True)])
            raise RuntimeError(
                f"Input and output sizes should be greater than 0, but got input ({was}) and output ({wanted})"
            )
    for place in range(len(names)):
        factor = None if factors is None else factors[place]
        tensor = _resized(tensor, place + 2, before[place], sizes[place], factor, mode, align_corners)
    return tensor


def _scaled(size: Any, factor: Any) -> Any:
    """A size times a factor, rounded down; a whole factor leaves the size an integer that others are related to."""
    return size * int(factor) if factor == int(factor) else math.floor(size * factor)


def _resized(tensor: Any, dim: Any, old: Any, new: Any, factor: Any, mode: Any, align_corners: Any) -> Any:
    is_exact = tensor.dtype == torch.float64 and mode not in ("nearest", "nearest-exact")
    places = torch.arange(new).to(torch.float64 if is_exact else torch.float32)
    if mode == "nearest" or mode == "nearest-exact":
        step = old / new if factor is None else 1.0 / factor
        places = places * step if mode == "nearest" else (places + 0.5) * step
        return tensor.index_select(dim, places.floor().to(torch.int64).clamp(max=old - 1))
    if align_corners:
        places = places * ((old - 1) / (new - 1)) if new > 1 else places * 0.0
    else:
        step = old / new if factor is None else 1.0 / factor
        places = ((places + 0.5) * step - 0.5).clamp(min=0.0)
    low = places.floor().to(torch.int64).clamp(max=old - 1)
    high = (low + 1).clamp(max=old - 1)
    weight = (places - low.to(places.dtype)).reshape([-1] + [1] * (tensor.dim() - 1 - dim)).to(tensor.dtype)
    return tensor.index_select(dim, low) * (1 - weight) + tensor.index_select(dim, high) * weight


# ---------------------------------------------------------------- packed sequences


def pack_padded_sequence(tensor: Any, lengths: Any, batch_first: Any, enforce_sorted: Any) -> Any:
    """`torch.nn.utils.rnn.pack_padded_sequence`: the steps of all sequences that have a first one, a second, ..."""
    lengths = torch.as_tensor(lengths).to(torch.int64)
    order = None
    if not enforce_sorted:
        lengths, order = torch.sort(lengths, descending=True)
        tensor = tensor.index_select(0 if batch_first else 1, order)
    if batch_first:
        tensor = tensor.transpose(0, 1)
    if lengths.size(0) != tensor.size(1):
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {lengths.size(0)} "
            f"(batch_size={tensor.size(1)})"
        )
    if peek(lengths.min() <= 0):
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if enforce_sorted and peek((lengths[:-1] < lengths[1:]).any()):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can "
            "pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if "
            "you do not need ONNX exportability."
        )
    longest = peek(lengths[0])
    at_least(longest, 1)
    if longest > tensor.size(0):
        raise RuntimeError(f"start (0) + length ({longest}) exceeds dimension size ({tensor.size(0)}).")
    steps = torch.arange(longest)
    mask = steps.unsqueeze(1) < lengths.unsqueeze(0)
    counts = mask.sum(1)
    first_is(counts, tensor.size(1))  # no sequence is empty
    return PackedSequence(tensor.index_select(0, steps)[mask], counts, order, None)


def peek(tensor: Any) -> Any:
    """The number in a tensor, where torch's kernel looks at it itself: no line of the model asks."""


def pack_sequence(sequences: Any, enforce_sorted: Any) -> Any:
    """`torch.nn.utils.rnn.pack_sequence`."""
    lengths = torch.as_tensor([sequence.size(0) for sequence in sequences])
    padded = torch.nn.utils.rnn.pad_sequence(sequences)
    return pack_padded_sequence(padded, lengths, False, enforce_sorted)


def first_is(tensor: Any, number: Any) -> None:
    """The first element of a tensor is known, though what computes it does not tell."""


def at_least(number: Any, least: Any) -> None:
    """A number is not less than another, though nobody has compared them."""


def pad_packed_sequence(sequence: Any, batch_first: Any, padding_value: Any, total_length: Any) -> Any:
    """`torch.nn.utils.rnn.pad_packed_sequence`."""
    data, counts, _, order = sequence
    longest = counts.size(0)
    if total_length is not None and total_length < longest:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {longest}"
        )
    padded, mask = _padded(data, counts, padding_value)
    lengths = mask.sum(0)
    if total_length is not None:
        rest = padded.new_full([total_length - longest, *padded.shape[1:]], padding_value)
        padded = torch.cat([padded, rest])
    if batch_first:
        padded = padded.transpose(0, 1)
    if order is not None:
        return padded.index_select(0 if batch_first else 1, order), lengths[order]
    return padded, lengths


def _padded(data: Any, counts: Any, value: Any) -> Any:
    """The steps (steps, sequences, ...) of packed data, and which of them there are."""
    mask = torch.arange(int(counts[0])).unsqueeze(0) < counts.unsqueeze(1)
    padded = data.new_full([*mask.shape, *data.shape[1:]], value)
    padded[mask] = data
    return padded, mask


_SHUT = 1.0e4  # a gate's input that makes its sigmoid 0 or 1 to the last bit


def packed_recurrence(
    function: Any, gates: Any, data: Any, counts: Any, state: Any, weights: Any, has_biases: Any, directions: Any
) -> Any:
    """`_VF.lstm`, `_VF.gru`, ... of packed data: the padded steps of each layer and direction, one after another.

    gates: what a padded step adds to each gate of an LSTM, so that its cell stays as it is; () for others, whose state
    is their output. Backwards is forwards on the sequences turned around, each within its own length.
    """
    steps, mask = _padded(data, counts, 0)
    lengths = mask.sum(0)
    last = (lengths - 1).reshape([1, -1, 1])
    turned = (lengths.unsqueeze(0) - 1 - torch.arange(counts.size(0)).unsqueeze(1)).clamp(min=0).unsqueeze(-1)
    is_lstm = len(gates) > 0
    hidden = state[0] if is_lstm else state
    layers = hidden.size(0) // directions
    width = len(weights) // hidden.size(0)
    hiddens: list[Any] = []
    cells: list[Any] = []
    for layer in range(layers):
        sides: list[Any] = []
        for direction in range(directions):
            place = layer * directions + direction
            own = list(weights[place * width : (place + 1) * width])
            given = steps.gather(0, turned.expand([-1, -1, steps.size(2)])) if direction else steps
            first: Any = hidden[place : place + 1]
            if is_lstm:
                given = torch.cat([given, (~mask).to(given.dtype).unsqueeze(-1)], 2)
                shut = torch.tensor(gates).repeat_interleave(own[0].size(0) // 4).mul(_SHUT).unsqueeze(1)
                own[0] = torch.cat([own[0], shut.to(own[0].dtype)], 1)
                first = (first, state[1][place : place + 1])
            results = function(given, first, own, has_biases, 1, 0.0, False, False, False)
            side = results[0]
            hiddens.append(side.gather(0, last.expand([-1, -1, side.size(2)])))
            if is_lstm:
                cells.append(results[2])
            sides.append(side.gather(0, turned.expand([-1, -1, side.size(2)])) if direction else side)
        steps = sides[0] if directions == 1 else torch.cat(sides, 2)
    packed = steps[mask]
    return (packed, torch.cat(hiddens), torch.cat(cells)) if is_lstm else (packed, torch.cat(hiddens))
