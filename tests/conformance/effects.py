"""Effects, randomness, precision, libraries."""

from __future__ import annotations

import itertools
import logging
import os
import random
import time
import warnings

import numpy as np
import torch

from tests.conformance.table import Base, Section

SECTION = Section("Effects and libraries")
log = logging.getLogger(__name__)


@SECTION.yes("`print`, `warnings.warn`, logging", "dropped; their arguments are still evaluated")
class Prints(Base):
    def forward(self, x):
        if x.sum() > 0:
            print("sum", x.sum().item())
        warnings.warn("slow", stacklevel=2)
        log.info("%s", x)
        return x + 1


@SECTION.refused(
    "DY202",
    "dropout in train mode, `torch.rand`, sampling",
    'call `eval()`, pass the sampled numbers in, or compile with `rng="host"`',
)
class Random(Base):
    def forward(self, x):
        return x + torch.rand(1, 4)


@SECTION.refused("DY210", "`random`, `numpy.random`", 'its answer would be frozen; or `rng="host"`')
class PythonRandom(Base):
    def forward(self, x):
        return x * random.random()


NUMBERS = itertools.count()


@SECTION.refused("DY206", "`next()` of an iterator that was there before", "count in an attribute of the model")
class OldIterator(Base):
    def forward(self, x):
        return x * next(NUMBERS)


@SECTION.yes("clock (`time.time()`, `perf_counter`, `monotonic`)", "read by the host, where the source reads it")
class Clock(Base):
    def forward(self, x):
        start = time.time()
        y = torch.tanh(x)
        return y if time.time() - start < 1000.0 else x


@SECTION.yes("measured time in results and state", "read by the host; verification leaves it out")
class MeasuredTime(Base):
    def __init__(self):
        super().__init__()
        self.seconds = 0.0

    def forward(self, x):
        start = time.perf_counter()
        y = self.layers[0](x) if x.sum() > 0 else x
        self.seconds += time.perf_counter() - start
        return y, {"seconds": time.perf_counter() - start, "count": 1}


@SECTION.yes("`os.environ.get`, `os.environ[name]`, `os.getenv`", "read by the host, where the source reads it")
class EnvironmentRead(Base):
    def forward(self, x):
        return x * 2 if os.environ.get("PATH", "") == "none" else x


@SECTION.refused("DY210", "files, directories, processes, `datetime.now()`, `hash()` of texts", "it would be frozen")
class ProcessRead(Base):
    def forward(self, x):
        return x, os.getpid()


@SECTION.refused("DY203", "`torch.autocast`, enabled", "convert the model instead")
class Autocast(Base):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.layers[0](x)


@SECTION.yes("casts: `.half()`, `.double()`, `.long()`, `.to(dtype)`, `type_as`")
class Casts(Base):
    def forward(self, x):
        y = x.double().mul(3).long()
        return y.to(torch.float32) if y.sum() > 0 else x.type_as(y)


@SECTION.yes("types of Python's as dtypes: `torch.zeros(n, dtype=int)`, `x.to(float)`")
class PythonDtypes(Base):
    def forward(self, x):
        kept = torch.zeros(2, dtype=bool) | (x.to(float)[0, :2] > 0)
        try:
            return kept.type(float)
        except ValueError:
            return kept.sum(dtype=int) + torch.ones(1, dtype=int) if x.sum() > 0 else kept.to(float)


@SECTION.yes(
    "`module.to(dtype)`, `.double()`, `.half()` of a layer in `forward`",
    "its weights are cast; cast back from a wider type they are the same again; refused where others hold them",
)
class LayerCast(Base):
    def forward(self, x):
        if x.sum() > 0:
            y = self.layers[0].double()(x.double()).float()
            self.layers[0].float()
            x = y
        return self.layers[0](x)


@SECTION.yes("profiler ranges (`record_function`)", "do nothing")
class Profiled(Base):
    def forward(self, x):
        with torch.profiler.record_function("layer"):
            return self.layers[0](x) if x.sum() > 0 else x


@SECTION.yes(
    "tensors of known arrays (`from_numpy`, `torch.tensor`, `FloatTensor`)", "constants; or the memory of the array"
)
class KnownArrays(Base):
    def forward(self, x):
        shared = np.zeros((1, 4), dtype=np.float32)
        shared[0, 1] = 2.0
        seen = torch.from_numpy(shared)
        table = torch.tensor(np.arange(3000.0)).float().mean() + torch.FloatTensor(np.ones(4, dtype=np.float32))
        if x.sum() > 0:
            table = table * 2
        return seen + x, table + torch.as_tensor(np.arange(4))


@SECTION.refused("DY301", "array written whose memory is a tensor that is still in use", "write into a `copy()`")
class WrittenArray(Base):
    def forward(self, x):
        shared = np.zeros((1, 4), dtype=np.float32)
        seen = torch.from_numpy(shared)
        shared[0, 1] = 2.0
        return seen + x


@SECTION.yes("numpy on known values (`np.sqrt(4)`, `np.linspace(...)`)", "computed when the model is compiled")
class NumpyKnown(Base):
    def forward(self, x):
        scales = np.linspace(0.0, 1.0, 3)
        return x * float(scales[1]) if x.sum() > np.sqrt(0.25) else x / np.sqrt(4.0)


@SECTION.yes("`torch.cuda.is_available`, `torch.get_default_dtype`, `torch.finfo`", "as on the machine that compiles")
class Environment(Base):
    def forward(self, x):
        low = torch.finfo(x.dtype).min
        return x.masked_fill(x < 0, low) if x.sum() > 0 and torch.get_default_dtype() == torch.float32 else x


@SECTION.yes("`torch._assert`, `torch._check`, `torch.testing`-free shape checks")
class Checks(Base):
    def forward(self, x):
        torch._assert(x.dim() == 2, "two dimensions")
        if x.shape[1] != 4:
            raise ValueError("four columns")
        return x * 2 if x.sum() > 0 else x
