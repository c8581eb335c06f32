"""Random numbers of the host: the streams that torch's CPU generator, `random` and `numpy.random` give for a seed.

Torch's generator is a Mersenne twister, as numpy's MT19937 is. Uniform, integer, exponential and Bernoulli numbers,
permutations and multinomial samples are the same numbers bit by bit; normal numbers are the same up to rounding, for
torch computes their logarithms with vector instructions. The reference executor draws from this class; an artifact
whose host draws holds a copy of this file.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

DEFAULT_SEED = 67280421310721  # torch's own
_WIDE = 1 << 28  # from this many integers on, torch takes 64 bits for each
_FEW, _AHEAD = 64, 256  # so many numbers are taken from so many that were asked for ahead
_NOTHING = np.empty(0, np.uint64)
_BLOCK = 16  # normal numbers come in blocks of so many, fewer one by one


class Streams:
    """The generators of one host."""

    # Each is a new array once all of it is used: who is given a part of it has that part alone.
    _ahead: np.ndarray  # numbers of the twister that were asked for already
    _ahead_floats: np.ndarray  # the same as fractions
    _next: int  # the first of them that was not taken yet

    def __init__(self, seed: int | None = None) -> None:
        self._bits: Any = np.random.MT19937()
        self._lock = threading.Lock()
        self.seed(DEFAULT_SEED if seed is None else seed)
        if seed is None:
            self.seed_python(None)
            self.seed_numpy(None)

    def seed(self, seed: int) -> None:
        """Begin anew, as `torch.manual_seed`, `random.seed` and `numpy.random.seed` do."""
        self.seed_torch(seed)
        self.seed_python(seed)
        self.seed_numpy(seed % (1 << 32))

    def seed_torch(self, seed: int) -> int:
        """Begin torch's stream anew; the seed."""
        with self._lock:
            self._bits._legacy_seeding(seed % (1 << 32))
            self._look_ahead(_NOTHING)
            self._next_normal: float | None = None
        return seed

    def seed_python(self, seed: int | None) -> int | None:
        """Begin the stream of `random` anew; the seed."""
        self._python: random.Random | None = None  # made when it is asked for
        self._python_seed = seed
        return seed

    def seed_numpy(self, seed: int | None) -> int | None:
        """Begin the stream of `numpy.random` anew; the seed."""
        self._numpy: np.random.RandomState | None = None
        self._numpy_seed = seed
        return seed

    # ------------------------------------------------------------ torch's numbers

    def uniform(self, shape: Sequence[int], dtype: str, low: float, high: float) -> np.ndarray:
        """Uniform numbers of [low, high)."""
        count = math.prod(shape)
        drawn: np.ndarray
        if (low, high) == (0.0, 1.0):  # a factor of 1 and a sum with 0 change no number
            drawn = self._doubles(count) if dtype == "float64" else self._floats(count)
        elif dtype == "float64":
            drawn = self._doubles(count) * (high - low) + low
        else:
            wide = self._floats(count).astype(np.float64)  # torch multiplies and adds with one rounding
            drawn = (wide * np.float64(np.float32(high - low)) + np.float64(np.float32(low))).astype(np.float32)
        return drawn.reshape(shape)

    def normal(self, shape: Sequence[int], dtype: str, mean: float, std: float) -> np.ndarray:
        """Normal numbers."""
        count = math.prod(shape)
        if count < _BLOCK:
            drawn = np.array([self._one_normal() * std + mean for _ in range(count)])
        else:
            drawn = self._normals(count, np.dtype("float64" if dtype == "float64" else "float32"))
            if (mean, std) != (0.0, 1.0):
                drawn = drawn * drawn.dtype.type(std) + drawn.dtype.type(mean)
        return np.asarray(drawn.reshape(shape), dtype)

    def normals(self, mean: Any, std: Any, shape: Sequence[int], dtype: str) -> np.ndarray:
        """Normal numbers, of a mean and a deviation each."""
        return np.asarray(self.normal(shape, dtype, 0.0, 1.0) * std + mean, dtype)

    def exponential(self, shape: Sequence[int], dtype: str, rate: float) -> np.ndarray:
        """Exponential numbers."""
        drawn = -1.0 / rate * np.log1p(-self._doubles(math.prod(shape)))
        return np.asarray(drawn.reshape(shape), dtype)

    def integers(self, shape: Sequence[int], dtype: str, low: int, high: int) -> np.ndarray:
        """Integers of [low, high)."""
        count, span = math.prod(shape), high - low
        if span <= 0:
            raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
        drawn = (self._wide(count) if span >= _WIDE else self._narrow(count)) % np.uint64(span)
        return np.asarray((drawn.astype(np.int64) + low).reshape(shape), dtype)

    def bernoulli(self, shape: Sequence[int], dtype: str, chance: float) -> np.ndarray:
        """Ones with one chance, else zeros."""
        return np.asarray((self._doubles(math.prod(shape)) < chance).reshape(shape), dtype)

    def multinomial(self, weights: Any, count: int, replacement: bool) -> np.ndarray:
        """Indices, as likely as the weights of the last dimension say."""
        weights = np.asarray(weights)
        if (weights < 0).any() or not np.isfinite(weights).all():
            raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
        if replacement and count > 1:
            return self._with_replacement(weights, count)
        waits = self.exponential(weights.shape, str(weights.dtype), 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = weights / waits
        if count == 1:
            return np.asarray(scores.argmax(-1)[..., None], np.int64)
        return np.asarray(np.argsort(-scores, axis=-1, kind="stable")[..., :count], np.int64)

    def permutation(self, count: int, dtype: str) -> np.ndarray:
        """The integers below `count` in random order."""
        order = np.arange(count)
        for index, drawn in enumerate(self._narrow(max(count - 1, 0)).tolist()):
            other = index + drawn % (count - index)
            order[index], order[other] = order[other], order[index]
        return order.astype(dtype)

    # ------------------------------------------------------------ Python's and numpy's numbers

    def of_python(self, name: str, *args: Any) -> Any:
        """A number that a function of `random` gives."""
        if self._python is None:
            self._python = random.Random(self._python_seed)
        return getattr(self._python, name)(*args)

    def of_numpy(self, name: str, *args: Any) -> Any:
        """A number that a function of `numpy.random` gives."""
        if self._numpy is None:
            self._numpy = np.random.RandomState(self._numpy_seed)
        found = getattr(self._numpy, name)(*args)
        return found.item() if isinstance(found, np.generic) else found

    # ------------------------------------------------------------ the twister

    def _take(self, count: int) -> slice | None:
        """Where the next few numbers lie among those that were asked for already; many do not lie there."""
        start, end = self._next, self._next + count
        if end > len(self._ahead):
            if count > _FEW:
                return None
            self._look_ahead(self._ahead[start:])
            start, end = 0, count
        self._next = end
        return slice(start, end)

    def _look_ahead(self, left: np.ndarray) -> None:
        """Ask for more numbers than are needed now, after those that are left."""
        self._ahead = np.concatenate([left, np.asarray(self._bits.random_raw(_AHEAD), np.uint64)])
        self._ahead_floats = _fractions(self._ahead)
        self._next = 0

    def _narrow(self, count: int) -> np.ndarray:
        with self._lock:
            place = self._take(count)
            if place is not None:
                return self._ahead[place]
            left, self._next = self._ahead[self._next :], len(self._ahead)
            return np.concatenate([left, np.asarray(self._bits.random_raw(count - len(left)), np.uint64)])

    def _wide(self, count: int) -> np.ndarray:
        pairs = self._narrow(2 * count).reshape(count, 2)
        return np.asarray((pairs[:, 0] << np.uint64(32)) | pairs[:, 1])

    def _floats(self, count: int) -> np.ndarray:
        if count > _FEW:
            return _fractions(self._narrow(count))
        with self._lock:
            place = self._take(count)  # may put other numbers there
            return self._ahead_floats[place]

    def _doubles(self, count: int) -> np.ndarray:
        return (self._wide(count) & np.uint64((1 << 53) - 1)).astype(np.float64) * 2.0**-53

    def _one_normal(self) -> float:
        """The Box-Muller method makes two at a time: the second waits for the next request."""
        if self._next_normal is not None:
            found, self._next_normal = self._next_normal, None
            return found
        turn, fall = self._doubles(2).tolist()
        radius, angle = math.sqrt(-2.0 * math.log1p(-fall)), 2.0 * math.pi * turn
        self._next_normal = radius * math.sin(angle)
        return radius * math.cos(angle)

    def _normals(self, count: int, dtype: np.dtype[Any]) -> np.ndarray:
        draw = self._doubles if dtype == np.float64 else self._floats
        drawn: np.ndarray = draw(count)
        whole = count - count % _BLOCK
        drawn[:whole] = _turn(drawn[:whole])
        if whole != count:  # the last block is drawn again, over what is there
            drawn[-_BLOCK:] = _turn(draw(_BLOCK))
        return drawn

    def _with_replacement(self, weights: np.ndarray, count: int) -> np.ndarray:
        rows = weights.reshape(-1, weights.shape[-1])
        found = np.empty((len(rows), count), np.int64)
        for row, one in zip(found, rows, strict=True):
            sums: np.ndarray = np.cumsum(one, dtype=one.dtype)
            sums = sums / sums[-1]
            row[:] = np.searchsorted(sums, self._doubles(count), side="left")
        return found.reshape(*weights.shape[:-1], count)


def _fractions(drawn: np.ndarray) -> np.ndarray:
    """Numbers of the twister as float32 of [0, 1)."""
    return (drawn & np.uint64((1 << 24) - 1)).astype(np.float32) * np.float32(2**-24)


def _turn(drawn: np.ndarray) -> np.ndarray:
    """Blocks of uniform numbers as normal ones."""
    of = drawn.dtype.type
    pairs = drawn.reshape(-1, 2, _BLOCK // 2)
    radius = np.sqrt(of(-2) * np.log(of(1) - pairs[:, 0]))
    angle = of(2 * math.pi) * pairs[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
