"""Arguments of calls as operands of the program, and the tensors behind them: names, contents, known values."""

from __future__ import annotations

import enum
from typing import Any, NoReturn

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import InternalError, UnsupportedError
from dycl.ir.resolve import torch_text
from dycl.ir.trees import map_leaves
from dycl.ir.values import (
    ArrayType,
    Lit,
    Mapping,
    Operand,
    Ref,
    ScalarKind,
    Seq,
    SeqKind,
    SliceOf,
    TensorType,
    TorchLit,
    Value,
    ValueId,
    Weight,
)
from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.emission import Emission
from dycl.passes.specialize.pytables import RunDict
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.state import State
from dycl.passes.specialize.values import RuntimeList, RuntimeObject, Scalar, Text, TextPart

_SMALL_CONSTANT = 1024
# What torch takes a type of Python's for where it wants a dtype.
_DTYPES: dict[type, torch.dtype] = {int: torch.int64, float: torch.float64, bool: torch.bool}


class Operands(Emission):
    """The part of the machine that names tensors and writes operands."""

    def value(self, vid: ValueId) -> Value:
        """The definition of a value."""
        return Value(vid, self.values.types[vid])

    def current_vid(self, tensor: Any, state: State | None = None) -> ValueId:
        """The name of the tensor's present content on this path."""
        root = getattr(tensor, "_dycl_root", None)
        if root is None:
            raise InternalError(
                f"specialize: a tensor of unknown origin at {self.loc()}: {type(tensor).__name__}{tuple(tensor.shape)}"
            )
        first: ValueId = root
        return (state or self.state).current.get(first, first)

    def value_type(self, tensor: torch.Tensor) -> TensorType | ArrayType:
        """Its type in the program: a tensor's, or that of the array that it stands for."""
        of = self.tensor_type(tensor)
        if not hasattr(tensor, "_dycl_array"):
            return of
        return ArrayType(of.dtype, of.shape, tensor._dycl_array)

    def tensor_type(self, tensor: torch.Tensor) -> TensorType:
        """Its type in the program."""
        dims = tuple(
            str(size.node.expr) if isinstance(size, torch.SymInt) and not size.node.expr.is_Integer else int(size)
            for size in tensor.shape
        )
        return TensorType(str(tensor.dtype).removeprefix("torch."), dims)

    def memory_of(self, tensor: torch.Tensor) -> int:
        """What identifies the tensor's memory: a tensor made anew at a join stays where the old one was."""
        with torch._C.DisableTorchFunction():
            storage: int = tensor.untyped_storage()._cdata
        return self.moved_storages.get(storage, storage)

    def adopt(self, tensor: torch.Tensor, name: str = "") -> ValueId:
        """Give a fresh fake tensor its name in the program."""
        vid = self.values.new(self.value_type(tensor), name)
        tensor._dycl_root = vid  # type: ignore[attr-defined]
        self.keep.append(tensor)
        storage = self.memory_of(tensor)
        self.state.aliases[storage] = (*self.state.aliases.get(storage, ()), vid)
        return vid

    def define_result(self, leaf: torch.Tensor) -> ValueId:
        """The name of a result; an argument handed back keeps its own name beside it."""
        if not isinstance(leaf, FakeTensor) or hasattr(leaf, "_dycl_root"):
            return self.values.new(self.tensor_type(leaf))
        leaf.constant = None  # torch's own constants know nothing of paths; `known` does
        return self.adopt(leaf)

    def rename_content(self, roots: tuple[ValueId, ...]) -> list[tuple[ValueId, Value]]:
        """New names for the content of tensors whose memory was written."""
        pairs = []
        for root in roots:
            old = self.state.current.get(root, root)
            new = self.values.new(self.values.types[old], self.values.names.get(old, ""))
            self.state.current[root] = new
            pairs.append((old, self.value(new)))
        return pairs

    def check_shared_at_times(self, memory: int) -> None:
        """Memory is written, or kept: whether another tensor lies in it as well has to be known."""
        if memory in self.shared_at_times and not self.hints.exact_memory:
            self.hints.exact_memory = True
            raise Restart("what is a view for some sizes alone is written")

    def replace_content(self, tensor: FakeTensor, content: FakeTensor) -> None:
        """A procedure has written a buffer: it has this content now, and earlier views of it are gone."""
        state = self.state
        for root in state.aliases.get(tensor.untyped_storage()._cdata, ()):
            gone = self.values.new(self.values.types[root])
            self.stale.add(gone)
            state.current[root] = gone
        state.current[tensor._dycl_root] = self.current_vid(content)  # type: ignore[attr-defined]

    def weight_written(self, tensor: torch.Tensor) -> NoReturn:
        """A weight turns out to be state: specialise again with it as a value."""
        owners = self.weight_names.sharing(tensor)
        if not owners:
            raise UnsupportedError(
                "DY206",
                self.loc(),
                "a tensor outside of the model is written",
                hint="keep what changes at run time in a buffer of the model, or write into a clone()",
            )
        if len(owners) > 1 or owners[0].untyped_storage().nbytes() != owners[0].nbytes:
            names = [self.weight_names.state_name(owner) or "" for owner in owners]
            raise UnsupportedError(
                "DY301",
                self.loc(),
                f"a tensor of the model that shares its memory with others is written: {', '.join(names)}",
                hint="keep a clone() of one of them",
            )
        self.hints.stateful[id(owners[0])] = owners[0]
        raise Restart("a weight is written")

    def weight_storage_written(self, storage: int) -> None:
        """A view of a weight was written."""
        if storage in self.weight_storages:
            self.weight_written(self.weight_storages[storage])

    def known_value(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The value of a small constant tensor."""
        if isinstance(tensor, FakeTensor):
            return self.known.get(self.current_vid(tensor))
        if (
            isinstance(tensor, torch.nn.Parameter)
            or tensor.numel() > _SMALL_CONSTANT
            or id(tensor) in self.hints.stateful
        ):
            return None
        return tensor

    def constant_value(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The value of a weight, of any size, that the program never writes."""
        return None if id(tensor) in self.hints.stateful else tensor

    def substituted(self, value: Any) -> Any:
        """Arguments with each stateful weight replaced by the tensor that stands for its content."""
        if not self.stateful_fakes:
            return value
        return map_leaves(lambda leaf: self.stateful_fakes.get(id(leaf), leaf), value)

    def operand(self, value: Any) -> Operand:
        """A call's argument as it stands in the program."""
        if isinstance(value, FakeTensor):
            vid = self.current_vid(value)
            if vid in self.stale:
                raise UnsupportedError(
                    "DY301",
                    self.loc(),
                    "a view of a buffer is used after a recursive function has written the buffer",
                    hint="take the view again",
                )
            return Ref(vid)
        if isinstance(value, torch.Tensor):
            return self._weight(value)
        if isinstance(value, Text):
            return self.text_operand(value)
        if isinstance(value, Scalar):
            found = self.settled(value)
            return Ref(found.vid) if isinstance(found, Scalar) else Lit(found)
        if isinstance(value, (RuntimeList, RuntimeObject)):
            return Ref(value.vid)
        if isinstance(value, Array):
            return Ref(self.current_vid(value.fake))
        if isinstance(value, (torch.SymInt, torch.SymBool, torch.SymFloat)):
            found = self.scalar_of(value)
            return self.operand(found) if isinstance(found, Scalar) else Lit(found)
        if value is None or value is Ellipsis or type(value) in (bool, int, float, str):
            return Lit(value)
        if isinstance(value, np.generic) and isinstance(value.item(), (bool, int, float)):
            return Lit(value.item())
        if isinstance(value, (torch.Size, tuple, list)):
            kind = (
                SeqKind.SIZE
                if isinstance(value, torch.Size)
                else SeqKind.LIST
                if isinstance(value, list)
                else SeqKind.TUPLE
            )
            return Seq(kind, tuple(self.operand(item) for item in value))
        if isinstance(value, slice):
            return SliceOf(self.operand(value.start), self.operand(value.stop), self.operand(value.step))
        if isinstance(value, dict):
            return Mapping(tuple((Lit(key), self.operand(item)) for key, item in value.items()))
        if isinstance(value, enum.Enum) and isinstance(value, (int, float, str)):
            return Lit(value.value)
        text = torch_text(_DTYPES.get(value, value) if isinstance(value, type) else value)
        if text is not None:
            return TorchLit(text)
        if isinstance(value, torch.Generator):
            raise self.random_operation("with an explicit generator")
        raise UnsupportedError("DY203", self.loc(), f"a {type(value).__name__} is handed to an operation of torch")

    def _weight(self, tensor: torch.Tensor) -> Operand:
        if id(tensor) in self.stateful_fakes:
            return Ref(self.current_vid(self.stateful_fakes[id(tensor)]))
        stand_in = self.fake.from_tensor(tensor, static_shapes=True)
        self.keep.append(stand_in)  # torch remembers it weakly, and a storage made later must not have its address
        self.weight_storages[stand_in.untyped_storage()._cdata] = tensor
        return Weight(self.weight_names.name(tensor))

    def text_operand(self, text: Text) -> Operand:
        """A text with run-time parts, put together by the host."""
        total: Any = ""
        for part in text.parts:
            total = (
                self.host("add", total, part if isinstance(part, str) else self._formatted(part))
                if isinstance(total, Scalar) or total
                else (part if isinstance(part, str) else self._formatted(part))
            )
        return Ref(total.vid) if isinstance(total, Scalar) else Lit(total)

    def put_together(self, value: Any) -> Any:
        """What a later call finds, with each text one value of the host's: what it was made of is not kept."""
        if isinstance(value, Text):
            found = self.text_operand(value)
            return found.value if isinstance(found, Lit) else Text.of(TextPart(self._text_number(found), "", ""))
        if type(value) is tuple:
            return tuple(map(self.put_together, value))
        if type(value) is list:
            value[:] = map(self.put_together, value)
        elif type(value) is RunDict:
            self.put_together(value._keys)
            self.put_together(value._values)
        elif type(value) is dict:
            value.update({key: self.put_together(item) for key, item in value.items()})
        return value

    def _text_number(self, made: Operand) -> Scalar:
        assert isinstance(made, Ref)
        return Scalar(ScalarKind.STR, made.id)

    def _formatted(self, part: TextPart) -> Any:
        value: Any = part.value
        if part.conversion in ("r", "a"):
            value = self.host("repr", value)
        elif part.conversion == "s":
            value = self.host("str", value)
        if value.kind is ScalarKind.STR and not part.spec and not part.conversion:
            return value
        return self.host("format", value, part.spec) if part.spec or not part.conversion else value

    def random_operation(self, name: str) -> UnsupportedError:
        """A random kernel would be frozen or differ from run to run."""
        return UnsupportedError(
            "DY202",
            self.loc(),
            f"random operation {name}",
            hint="call eval() on the model, or take the sampled numbers as an input",
        )
