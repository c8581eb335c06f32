"""What earlier compiles for TVM have made, in the compile cache: bytecode of structures, objects of their kernels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from dycl.targets.base import Cache
from dycl.targets.tvm.kernels import Kernel
from dycl.targets.tvm.lower import Lowered
from dycl.targets.tvm.model import Prepared
from dycl.targets.tvm.package import version
from dycl.targets.tvm.processor import Processor


class KeptWork:
    """The cache as TVM's structures use it; `trials`: how many schedules are tried for each kernel."""

    def __init__(self, cache: Cache | None, processor: Processor, trials: int) -> None:
        self._cache = cache
        self._processor = processor
        self._trials = trials
        self._found: dict[str, bytes] = {}  # what has been read stays, whatever other compiles remove meanwhile

    def find_code(self, prepared: Prepared) -> Lowered | None:
        """The bytecode of a model; its kernels have no text."""
        content = None if self._cache is None else self._cache.get(self._code_key(prepared))
        if content is None:
            return None
        head, _, code = content.partition(b"\n")
        kernels, preparation = json.loads(head)
        return Lowered(code, tuple(Kernel(symbol, "", repeats) for symbol, repeats in kernels), preparation)

    def keep_code(self, prepared: Prepared, lowered: Lowered) -> None:
        """Keep the bytecode of a model."""
        if self._cache is not None:
            kernels = [(kernel.symbol, kernel.repeats) for kernel in lowered.kernels]
            head = json.dumps([kernels, lowered.preparation])
            self._cache.put(self._code_key(prepared), head.encode() + b"\n" + lowered.code)

    def find_object(self, group: Sequence[Kernel]) -> bytes | None:
        """The object file of these kernels."""
        key = self._object_key(group)
        if key not in self._found and self._cache is not None:
            content = self._cache.get(key)
            if content is not None:
                self._found[key] = content
        return self._found.get(key)

    def keep_object(self, group: Sequence[Kernel], content: bytes) -> None:
        """Keep the object file of these kernels."""
        if self._cache is not None:
            self._cache.put(self._object_key(group), content)

    def _code_key(self, prepared: Prepared) -> str:
        return self._key(
            "code" if self._trials else "code of kernels for several sizes",
            prepared.model.SerializeToString(deterministic=True),
        )

    def _object_key(self, group: Sequence[Kernel]) -> str:
        told = [(kernel.symbol, self._trials if kernel.repeats else 0) for kernel in group]
        return self._key("object", json.dumps(told).encode())

    def _key(self, what: str, content: bytes) -> str:
        """A key that says who compiles besides what is compiled, and for what processor."""
        from dycl.targets.onnx.exports import circumstances

        about = (what, circumstances(), version(), self._processor)
        return hashlib.sha256(repr(about).encode() + content).hexdigest()
