"""Compare a compiled subgraph with torch, on inputs the caller gives and on random ones of every size.

Every target uses it: what has been compiled comes as a function of arrays.

Numbers agree within `atol * max(1, largest expected) + rtol * |expected|`; integers and bools must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dycl.diagnostics import InternalError, TargetError
from dycl.ir.nodes import Subgraph
from dycl.ir.values import ScalarKind, ScalarType
from dycl.targets.base import InputValue, Options, refuse
from dycl.targets.module import SubgraphModule
from dycl.targets.samples import SCALAR_DTYPES, check_sizes, random_inputs
from dycl.targets.tracing import exporting

# The results for an input for each parameter, in order; scalars as arrays without dimensions.
Run = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]

_aten = torch.ops.aten
_UNINITIALISED = frozenset(
    {_aten.empty, _aten.empty_like, _aten.empty_strided, _aten.new_empty, _aten.new_empty_strided}
)
_HALF_RTOL, _HALF_ATOL = 1e-2, 1e-2


@dataclass(frozen=True, slots=True)
class Example:
    """Inputs that torch accepts and that agreed; `number`: which of all samples it is."""

    number: int
    inputs: tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Deviation:
    """The largest differences from torch over all samples that torch accepted; `example` is the first of these."""

    samples: int = 0
    max_abs: float = 0.0
    max_rel: float = 0.0
    example: Example | None = None


@dataclass(frozen=True, slots=True)
class _Sample:
    """Inputs to compare on; `given` by the caller, of `usual` sizes, or of sizes that may never occur."""

    inputs: tuple[torch.Tensor, ...]
    given: bool
    usual: bool


def check(subgraph: Subgraph, module: SubgraphModule, run: Run, options: Options, runner: str) -> Deviation:
    """How far the function is from torch; a disagreement is a `TargetError` with the numbers. `runner`: what runs."""
    worst = Deviation()
    for number, sample in enumerate(_samples(subgraph, options)):
        expected = _run_torch(module, sample)
        if expected is None:
            continue
        actual = _run_compiled(subgraph, run, sample, runner)
        if actual is None:
            continue
        max_abs, max_rel = _compare(subgraph, expected, actual, options)
        example = worst.example or Example(number, sample.inputs)
        worst = Deviation(worst.samples + 1, max(worst.max_abs, max_abs), max(worst.max_rel, max_rel), example)
    return worst


def _samples(subgraph: Subgraph, options: Options) -> Iterator[_Sample]:
    for values in options.samples.get(subgraph.name, ()):
        yield _Sample(_given(subgraph, values), given=True, usual=True)
    generator = torch.Generator().manual_seed(options.seed)
    for index, sizes in enumerate(check_sizes(subgraph, options.dimensions)):
        for _ in range(options.random_samples if index == 0 else 1):
            yield _Sample(random_inputs(subgraph, sizes, generator), given=False, usual=index == 0)


def _given(subgraph: Subgraph, values: Sequence[InputValue]) -> tuple[torch.Tensor, ...]:
    tensors = []
    for param, value in zip(subgraph.params, values, strict=True):
        if isinstance(param.type, ScalarType):
            assert param.type.kind is not ScalarKind.STR
            tensors.append(torch.tensor(value, dtype=getattr(torch, SCALAR_DTYPES[param.type.kind])))
        else:
            tensors.append(torch.from_numpy(np.array(value)))  # a copy: the caller's array may be read-only
    return tuple(tensors)


def _run_torch(module: SubgraphModule, sample: _Sample) -> tuple[np.ndarray, ...] | None:
    """What torch computes, or None where it refuses random inputs (an index out of range, a size that does not fit)."""
    try:
        with exporting(module.subgraph), _Determined():  # type: ignore[no-untyped-call]
            results = module(*(tensor.clone() for tensor in sample.inputs))
    except InternalError:
        raise
    except Exception:  # whatever a model's own code raises for inputs that it never meets
        if sample.given:
            raise
        return None
    return tuple(result.detach().cpu().contiguous().numpy() for result in results)


class _Determined(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, what torch leaves open is as in the target.

    Memory that nobody has written yet is zero. Of equal elements the first comes first.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in _UNINITIALISED:
            return func(*args, **kwargs).zero_()
        return _STABLE.get(func, func)(*args, **kwargs)


def _stable_sort(x: torch.Tensor, dim: int = -1, descending: bool = False) -> Any:
    return _aten.sort.stable(x, stable=True, dim=dim, descending=descending)


def _stable_topk(x: torch.Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    if not x.dim() or k > x.shape[dim]:
        return _aten.topk.default(x, k, dim, largest, sorted)
    return tuple(part.narrow(dim, 0, k) for part in _stable_sort(x, dim, largest))


_STABLE = {_aten.sort.default: _stable_sort, _aten.topk.default: _stable_topk}


def _run_compiled(subgraph: Subgraph, run: Run, sample: _Sample, runner: str) -> Sequence[np.ndarray] | None:
    arrays = [tensor.numpy() for tensor in sample.inputs]
    before = [array.copy() for array in arrays]
    try:
        results = run(arrays)
    except Exception as error:  # runtimes raise what they like
        if not sample.usual:
            return None  # a size that the program may rule out; if not, the call fails as loudly as here
        raise refuse(subgraph, f"{runner} does not run it: {first_line(error)}") from error
    if any(not np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(arrays, before, strict=True)):
        raise InternalError(f"{subgraph.name}: {runner} wrote into an input")
    return results


def _compare(
    subgraph: Subgraph, expected: Sequence[np.ndarray], actual: Sequence[np.ndarray], options: Options
) -> tuple[float, float]:
    worst_abs = worst_rel = 0.0
    for index, (want, got) in enumerate(zip(expected, actual, strict=True)):
        if want.dtype != got.dtype or (want.shape if options.is_exact else want.ndim) != (
            got.shape if options.is_exact else got.ndim
        ):
            raise _disagree(subgraph, index, f"{got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}")
        if not options.is_exact:
            continue
        if want.dtype.kind != "f":
            if not np.array_equal(want, got):
                raise _disagree(subgraph, index, f"{np.count_nonzero(want != got)} of {want.size} elements differ")
            continue
        max_abs, max_rel = _float_errors(subgraph, index, want, got, options)
        worst_abs, worst_rel = max(worst_abs, max_abs), max(worst_rel, max_rel)
    return worst_abs, worst_rel


def _float_errors(
    subgraph: Subgraph, index: int, want: np.ndarray, got: np.ndarray, options: Options
) -> tuple[float, float]:
    finite = np.isfinite(want)
    if not np.array_equal(want[~finite], got[~finite], equal_nan=True):
        raise _disagree(subgraph, index, "infinities or NaNs are in other places")
    half = any("float16" in str(p.type) for p in subgraph.params) or want.dtype == np.float16
    want, got = want[finite].astype(np.float64), got[finite].astype(np.float64)
    if not want.size:
        return 0.0, 0.0
    error, scale = np.abs(want - got), max(1.0, float(np.abs(want).max()))
    rtol, atol = (_HALF_RTOL, _HALF_ATOL) if half else (options.rtol, options.atol)
    bad = ~(error <= atol * scale + rtol * np.abs(want))  # a NaN or an infinity that torch does not have is bad
    if bad.any():
        where = int(np.argmax(np.where(bad, np.nan_to_num(error, nan=np.inf), -1.0)))
        raise _disagree(
            subgraph, index, f"{got[where]!r} instead of {want[where]!r}, {bad.sum()} of {bad.size} too far off"
        )
    return float(error.max()), float(error.max() / scale)


def _disagree(subgraph: Subgraph, index: int, what: str) -> TargetError:
    loc = subgraph.loc if subgraph.loc.line or not subgraph.ops else subgraph.ops[0].loc
    return TargetError("DY402", loc, f"subgraph {subgraph.name}, output {index}: {what}")


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
