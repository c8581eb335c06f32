"""Where arrays and tensors share memory, and what becomes of a write that both would see."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from dycl.diagnostics import UnsupportedError
from dycl.ir.nodes import HostOp
from dycl.ir.values import ArrayForm
from dycl.passes.specialize import parting
from dycl.passes.specialize.arrayvalue import Array, array_root
from dycl.passes.specialize.journal import Journal
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.walker import Walker

# Functions whose result may look at the memory of their operands; all others return new memory.
_VIEWS_TEXT = """
    np.reshape np.ravel np.transpose np.swapaxes np.moveaxis np.squeeze np.expand_dims np.atleast_1d np.atleast_2d
    np.atleast_3d np.asarray np.ascontiguousarray np.broadcast_to np.flip np.fliplr np.flipud np.rot90 np.diagonal
    np.diag np.split np.array_split np.hsplit np.vsplit np.permute_dims np.einsum np.trim_zeros np.positive
    np.ndarray.reshape np.ndarray.ravel np.ndarray.transpose np.ndarray.swapaxes np.ndarray.squeeze
    np.ndarray.diagonal np.ndarray.conj
"""
_VIEWS = frozenset(_VIEWS_TEXT.split())


class ArrayMemory(Journal):
    """The part of the machine that knows who shares memory with arrays."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._memory_parent: dict[int, int] = {}
        self.array_sites: dict[int, Any] = {}  # by id: where a static array was made
        self._constants: dict[Any, torch.Tensor] = {}
        self.has_reversed = False  # an array that runs backwards, of which torch makes no tensor

    def may_view(self, host: str, arguments: tuple[Any, ...]) -> bool:
        """Whether the result of a host function may share its operands' memory."""
        keywords = arguments[-1] if arguments and isinstance(arguments[-1], dict) else {}
        return host.partition("[")[0] in _VIEWS or "copy" in keywords

    def new_array(self, dtype: np.dtype[Any], sizes: tuple[Any, ...], form: ArrayForm) -> Array:
        """An array that an operation is about to define (`ArrayOperands`)."""
        raise NotImplementedError

    def define_array(self, array: Array, host: str, operands: tuple[Any, ...]) -> None:
        """Emit the operation that makes the array (`ArrayOperands`)."""
        raise NotImplementedError

    def check_conversion(self, array: Array, *, copies: bool) -> None:
        """Raise what torch.from_numpy raises on this path, if the model could notice (`Arrays`)."""
        raise NotImplementedError

    # ------------------------------------------------------------ groups

    def memory_group(self, storage: int) -> int:
        """A number for all memory that may be the same: of tensors alone, their storage."""
        storage = self.moved_storages.get(storage, storage)
        while storage in self._memory_parent:
            storage = self._memory_parent[storage]
        return storage

    def link_memory(self, left: torch.Tensor, right: torch.Tensor) -> None:
        """From here on both may be the same memory, on whatever path."""
        one = self.memory_group(_storage(left))
        other = self.memory_group(_storage(right))
        if one != other:
            self._memory_parent[one] = other
        self.keep += [left, right]

    def renew_memory(self, new: torch.Tensor, old: torch.Tensor) -> None:
        """A fake tensor takes the place of another at a join."""
        if hasattr(old, "_dycl_array"):
            new._dycl_array = old._dycl_array  # type: ignore[attr-defined]
        storage = _storage(old)
        if self.is_linked(storage):
            self.link_memory(new, old)

    def is_linked(self, storage: int) -> bool:
        """Whether memory is both a tensor's and an array's."""
        return storage in self._memory_parent or storage in self._memory_parent.values()

    # ------------------------------------------------------------ between tensors and arrays

    def array_of_tensor(self, tensor: torch.Tensor) -> Array:
        """tensor.numpy()"""
        tensor = self.substituted(tensor)
        name = "np.copy_of_tensor" if self.hints.writes_arrays else "np.of_tensor"
        call = ("np", name, id(tensor))
        found, out = self.replayed(call)
        if found:
            return out  # type: ignore[no-any-return]
        if tensor.dtype is torch.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        operand = self.operand(tensor)
        dtype = np.dtype("bool" if tensor.dtype is torch.bool else str(tensor.dtype).removeprefix("torch."))
        out = self.new_array(dtype, tuple(tensor.shape), ArrayForm.ARRAY)
        self.define_array(out, name, (operand,))
        if isinstance(tensor, FakeTensor):
            parting.check_whole(self, tensor)
            self.link_memory(out.fake, tensor)
        else:
            stand_in = self.fake.from_tensor(tensor, static_shapes=True)
            self.weight_storages[_storage(stand_in)] = tensor
            self.link_memory(out.fake, stand_in)
        self.log(call, out)
        return out

    def tensor_of_array(self, array: Array, *, copies: bool) -> torch.Tensor:
        """torch.from_numpy(array), or torch.tensor(array) which copies."""
        if array.is_scalar:
            name = "np.scalar_to_tensor"
        else:
            name = "np.copy_to_tensor" if copies or self.hints.writes_arrays else "np.to_tensor"
        self.check_conversion(array, copies=copies)
        call = ("np", name, id(array.fake), copies)
        found, out = self.replayed(call)
        if found:
            return out  # type: ignore[no-any-return]
        made = self.fresh_fake(list(array.fake.shape), array.fake.dtype)
        vid = self.adopt(made)
        self.emit(HostOp(function=name, args=(self.operand(array),), result=self.value(vid), loc=self.loc()))
        if not copies and not array.is_scalar:
            self.link_memory(made, array.fake)
        self.log(call, made)
        return made

    def wrapped_as_tensor(self, result: Any) -> Any:
        """What numpy's functions on a tensor return: a tensor again; its bools are bytes."""
        if not isinstance(result, Array):
            return result
        if result.fake.dtype is torch.bool:
            raise UnsupportedError("DY203", self.loc(), "a test by numpy of a tensor", hint="use the test of torch")
        return self.tensor_of_array(result, copies=True)

    def fresh_fake(self, shape: list[Any], dtype: torch.dtype) -> FakeTensor:
        """A fake tensor of this shape, recorded nowhere."""
        with unset_fake_temporarily(), self.fake, torch._C.DisableTorchFunction():
            return torch.empty(shape, dtype=dtype)  # type: ignore[return-value]

    # ------------------------------------------------------------ writes

    def check_array_write(self, array: Array) -> None:
        """Refuse a write into memory that somebody sees who does not know of arrays."""
        storage = _storage(array.fake)
        group = self.memory_group(storage)
        if any(self.memory_group(storage) == group for storage in self.input_storages):
            raise UnsupportedError(
                "DY212",
                self.loc(),
                "an array that is the memory of an input is written, which the caller would see",
                hint="write into a copy()",
            )
        self.carried.write_array(self, self.state.aliases.get(self.memory_of(array.fake), ()))  # type: ignore[arg-type]
        if any(self.memory_group(storage) == group for storage in self.weight_storages):
            raise UnsupportedError(
                "DY206", self.loc(), "an array that is the memory of a weight is written", hint="write into a copy()"
            )
        if self.is_linked(storage) and self._shares(group, is_array=False):
            raise UnsupportedError(
                "DY301",
                self.loc(),
                "an array is written whose memory is a tensor that is still in use",
                hint="write into a copy() of the array, or make the tensor from a copy()",
            )
        if not self.hints.writes_arrays:
            self.hints.writes_arrays = True
            raise Restart("an array is written")

    def check_tensor_write(self, storage: int) -> None:
        """Refuse a write into a tensor whose memory is an array that is still in use."""
        if self.is_linked(storage) and self._shares(self.memory_group(storage), is_array=True):
            raise UnsupportedError(
                "DY301",
                self.loc(),
                "a tensor is written whose memory is a numpy array that is still in use",
                hint="write into a clone() of the tensor, or make the array from one",
            )

    def _shares(self, group: int, *, is_array: bool) -> bool:
        """Whether a tensor (or array) in that memory may still be read on this path."""
        walker = Walker(self, self.state)
        with torch._C.DisableTorchFunction():
            walker.state()
        return any(
            hasattr(tensor, "_dycl_array") is is_array and self.memory_group(_storage(tensor)) == group
            for tensor in walker.tensors
        )

    # ------------------------------------------------------------ static arrays

    def constant_tensor(self, array: np.ndarray) -> torch.Tensor:
        """A static array as a constant of the program."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            with unset_fake_temporarily(), torch._C.DisableTorchFunction():
                self._constants[key] = torch.from_numpy(np.array(array, order="C"))
        return self._constants[key]

    def lift(self, array: np.ndarray) -> BaseException:
        """A static array is written with run-time values: from the next attempt on it is one of the run's."""
        root = array_root(array)
        site = self.array_sites.get(id(root))
        if site is None or id(root) in self.known_objects:
            return UnsupportedError(
                "DY206",
                self.loc(),
                "run-time values are written into an array that existed before the run",
                hint="write into a copy()",
            )
        if site in self.hints.lifted:
            return UnsupportedError("DY203", self.loc(), "run-time values are written into this numpy array")
        self.hints.lifted.add(site)
        return Restart("run-time values are written into an array")

    def static_arrays(self, result: Any, site: Any) -> Any:
        """What a native call has made: arrays that are written with run-time values later become the run's own."""
        if type(result) is not np.ndarray:
            return result
        root = array_root(result)
        if id(root) in self.known_objects:
            return result
        self.keep_alive(root)
        self.array_sites.setdefault(id(root), site)
        if root is result and site in self.hints.lifted:
            return self.array_call("copy", (self.constant_array(result),), {})  # type: ignore[attr-defined]
        return result

    def copied_array(self, array: np.ndarray, copy: np.ndarray) -> None:
        """A static array is copied because the path forks."""
        if id(array) in self.array_sites:
            self.array_sites[id(copy)] = self.array_sites[id(array)]
            self.keep_alive(copy)


def _storage(tensor: torch.Tensor) -> int:
    with torch._C.DisableTorchFunction():
        return tensor.untyped_storage()._cdata  # type: ignore[no-any-return]
