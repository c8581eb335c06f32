"""Records calls of torch as the operations of the residual program, and watches below them what they really do.

A function mode sees the call as the model wrote it (`torch.relu`, `F.multi_head_attention_forward`, `Tensor.add_`). A
dispatch mode below it sees the truth about memory and randomness: which arguments are written, which results alias.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from dycl.diagnostics import DyclError, UnsupportedError
from dycl.ir.nodes import CallFunction, CallModule, Target, TensorOp
from dycl.ir.resolve import function_name
from dycl.ir.trees import leaves, map_leaves
from dycl.ir.values import Value, ValueId
from dycl.passes.specialize import masks, parting, received, shapeops
from dycl.passes.specialize.draws import RANDOM
from dycl.passes.specialize.equalities import note_sizes
from dycl.passes.specialize.pieces import Piece, separate_calls
from dycl.passes.specialize.ranges import note_ranges
from dycl.passes.specialize.readings import known_bools, note_formula
from dycl.passes.specialize.results import Remembered
from dycl.passes.specialize.signals import Unknown
from dycl.passes.specialize.torchnames import (
    COUNTING,
    METADATA,
    METADATA_WRITERS,
    NOT_METADATA_GETTERS,
    SUBSCRIPTS,
    TAKES_SIZES,
    TENSOR_CLASSES,
    WRONG_RULES,
    getter_name,
    writes_by_name,
)
from dycl.passes.specialize.values import RuntimeList, Scalar
from dycl.passes.specialize.watch import Watch
from dycl.passes.specialize.witnesses import FAKE_FAILURES, check_empty, genuine_error
from dycl.passes.specialize.worlds import settled

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

SYMBOLS = (torch.SymInt, torch.SymFloat, torch.SymBool)
SMALL = 1024  # elements up to which the known value of a constant tensor is followed
_TORCH_BUG = "INTERNAL ASSERT FAILED"  # what torch's own assertions say: no error of the model's


class Recorder(TorchFunctionMode):
    """The function mode that is active while native code of the model's runs."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine
        self.composite: set[Any] = set()  # functions that decide something inside: recorded call by call

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.call(func, args, kwargs or {})

    # ------------------------------------------------------------ one call

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a call of torch; whatever it does is in the program."""
        name = getattr(func, "__name__", "")
        if name == "__hash__":  # by which tables tell tensors apart
            parting.check_whole(self.machine, *(arg for arg in args if isinstance(arg, FakeTensor)))
        if name in METADATA or (name == "__get__" and getter_name(func) not in NOT_METADATA_GETTERS):
            return func(*args, **kwargs)
        if name == "__get__" and getter_name(func) == "data":  # which torch.export takes for a constant
            return self.call(torch.Tensor.detach, args, {})
        if name == "__set__" or name in METADATA_WRITERS:
            self._check_writer(name, func, args)
            if name == "__set__":
                return func(*args, **kwargs)
        if func is torch.Tensor.type:
            return self._type(*args, **kwargs)
        conversion = _CONVERSIONS.get(name)
        if conversion is not None and args and isinstance(args[0], torch.Tensor):
            return conversion(self, *args, **kwargs)
        if func in (torch.tensor, torch.as_tensor) and _has_runtime_leaf(args[0] if args else kwargs.get("data")):
            return self._tensor_of(*args, **kwargs)
        if self.machine.hints.draws and func in RANDOM:
            return RANDOM[func](self.machine, *args, native=func, **kwargs)
        if name in WRONG_RULES:
            raise UnsupportedError("DY201", self.machine.loc(), f"{name}, of which torch's shape rule is wrong")
        if func in self.composite:
            return self.inside(func, args, kwargs)
        if name in TAKES_SIZES:
            args, kwargs = self._with_sizes(func, args, kwargs)
        if name in SUBSCRIPTS and not kwargs:
            args = self._without_masks(args)
        if name == "unique_consecutive":
            return shapeops.unique_consecutive(self, func, *args, **kwargs)
        if name == "topk":
            args, kwargs = shapeops.sorted_topk(args, kwargs)
        if (name in shapeops.MODELS and self.machine.has_symbols(args)) or name == "masked_select":
            found = shapeops.MODELS[name](self, *args, **kwargs)
            if found is not None:
                return found
        target = function_name(func)
        if target is None:
            return self.inside(func, args, kwargs)
        try:
            return self.record(CallFunction(target), func, args, kwargs)
        except Unknown:
            if not _has_python_inside(func):
                raise
        except FAKE_FAILURES as error:
            if not _has_python_inside(func):
                raise self.machine.fake_failure(error, target) from error
        self.composite.add(func)
        return self.inside(func, args, kwargs)

    def _without_masks(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a subscript without boolean masks; a mask under which one number is written stays."""
        is_alone = isinstance(args[1], torch.Tensor)
        if len(args) > 2 and is_alone and (not isinstance(args[2], torch.Tensor) or not args[2].dim()):
            return args
        return (args[0], masks.expanded(self.machine, args[0], args[1]), *args[2:])

    def inside(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a Python function of torch, with the calls that it makes recorded one by one."""
        if not _has_python_inside(func):
            raise UnsupportedError("DY201", self.machine.loc(), f"{func} cannot be named in a program")
        with self:
            return _body(func)(*args, **kwargs)

    def _with_sizes(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Arguments of a call that takes sizes: a tensor of one integer among them is its number."""

        def number(leaf: Any) -> Any:
            is_size = isinstance(leaf, torch.Tensor) and leaf.dim() == 0 and not leaf.is_floating_point()
            return self.item(leaf) if is_size and leaf.dtype != torch.bool else leaf

        is_method = getattr(torch.Tensor, getattr(func, "__name__", ""), None) is func
        own = 1 if is_method or func is torch.nn.functional.pad else 0
        return (*args[:own], *map_leaves(number, args[own:])), map_leaves(number, kwargs)

    def _type(self, tensor: torch.Tensor, dtype: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:
        """`tensor.type()`, and `tensor.type(torch.FloatTensor)` as the conversion that it is."""
        if dtype is None:
            return f"torch.{TENSOR_CLASSES[tensor.dtype]}"
        if not isinstance(dtype, torch.dtype):
            name = dtype if isinstance(dtype, str) else f"{dtype.__module__}.{dtype.__name__}"
            found = [known for known, cls in TENSOR_CLASSES.items() if name == f"torch.{cls}"]
            if not found:
                raise UnsupportedError("DY203", self.machine.loc(), f"conversion to the tensor type {name}")
            dtype = found[0]
        return self._sub(torch.Tensor.to, tensor, dtype)

    def _check_writer(self, name: str, func: Any, args: tuple[Any, ...]) -> None:
        if name == "__set__" and getter_name(func) in ("grad", "requires_grad"):
            return
        if name == "detach_":
            return
        written = f"assignment to .{getter_name(func)}" if name == "__set__" else name
        raise UnsupportedError(
            "DY211",
            self.machine.loc(),
            f"the metadata of a tensor is changed in place ({written})",
            hint="use the form that returns a new tensor, for example squeeze() for squeeze_()",
        )

    # ------------------------------------------------------------ recording

    def record(self, target: Target, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call on fake tensors and add it to the block as one operation, or replay it.

        What that needs of torch itself is none of the model's, whether or not this mode is active meanwhile.
        """
        with torch._C.DisableTorchFunction():
            return self._record(target, func, args, kwargs)

    def nonzero(self, mask: torch.Tensor, count: torch.SymInt) -> Any:
        """Record the indices of the true elements of a mask of one dimension; how many they are is known."""
        with torch._C.DisableTorchFunction():
            with unset_fake_temporarily(), self.machine.fake:
                made = (torch.empty([count], dtype=torch.int64, device=mask.device),)
            return self._record(CallFunction("torch.nonzero"), torch.nonzero, (mask,), {"as_tuple": True}, made)

    def _record(
        self, target: Target, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], made: Any = None
    ) -> Any:
        """`made`: the result, where the path knows what it looks like."""
        machine = self.machine
        args, kwargs = machine.substituted((args, kwargs))
        found, out = machine.replayed((target, _identity(args), _identity(kwargs)))
        if found:
            return out
        operands = tuple(machine.operand(arg) for arg in args)
        keywords = tuple((name, machine.operand(arg)) for name, arg in kwargs.items())
        native_args, native_kwargs = machine.native_arguments((args, kwargs))
        if machine.has_symbols(native_args, native_kwargs) and not writes_by_name(func, kwargs):
            check_empty(machine, func, native_args, native_kwargs)
        if made is None:
            out, watch, born = self._executed(target, func, native_args, native_kwargs)
        else:
            out, watch, born = made, Watch(machine.weight_written), []
        if watch.random and machine.hints.draws and _has_python_inside(getattr(func, "forward", func)):
            raise Unknown(f"it draws random numbers ({watch.random})")
        if watch.random:
            raise machine.random_operation(watch.random)
        outs = [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        known = self._known_results(func, args, kwargs, watch, out)
        mutates = self._mutations(watch)
        results = []
        for index, leaf in enumerate(outs):
            vid = machine.define_result(leaf)
            results.append(machine.value(vid))
            if known is not None and not watch.wrote:
                machine.known[vid] = known[index]
        sizes = note_sizes(machine, (args, kwargs), outs)
        op = TensorOp(
            target=target,
            args=operands,
            kwargs=keywords,
            results=tuple(results),
            mutates=mutates,
            sizes=sizes,
            loc=machine.loc(),
        )
        machine.emit(op)
        if outs and all(leaf.dtype == torch.bool for leaf in outs) and not mutates:
            masks.note_alike(machine, op)
        machine.bind_symbols(born, outs, out)
        machine.note_origin(born, (native_args, native_kwargs))
        note_ranges(machine, func, args, kwargs, outs)
        note_formula(machine, func, args, kwargs, outs)
        name = getattr(func, "__name__", "")
        if born and args and (name in COUNTING or (name == "where" and len(args) == 1)):
            self._learn_count(args, outs)
        machine.log((target, _identity(args), _identity(kwargs)), out, bool(mutates))
        return out

    def _executed(self, target: Target, func: Any, args: Any, kwargs: Any) -> tuple[Any, Watch, list[sympy.Symbol]]:
        """The result on fake tensors, what was done below Python, and the symbols that torch made."""
        machine = self.machine
        results = machine.hints.results
        call = results.call(machine, target, func, args, kwargs)
        if call is not None and (remembered := results.find(machine, call)) is not None:
            return remembered.out, self._watched(remembered), []
        has_symbols = machine.has_symbols(args, kwargs)

        def run(execute: Callable[[], Any]) -> tuple[Watch, Any]:
            watching = Watch(machine.weight_written)
            machine.fake.epoch += 1  # torch remembers counts of nonzero elements on the tensor, which all paths share
            with watching:
                return watching, execute()

        with machine.defining_symbols() as born, machine.env.asking() as asked:
            machine.fake.cache_enabled = not has_symbols
            try:
                pieces = separate_calls(machine, func, args, kwargs) if has_symbols else None
                found: tuple[Watch, Any] | Remembered
                if pieces is not None:
                    found = Remembered(tuple([self._piece(run, piece) for piece in pieces]), wrote=False)
                else:
                    whole = partial(run, partial(shapeops.executed, func, args, kwargs))
                    found = settled(machine, call, (args, kwargs), whole) if has_symbols else whole()
            except (*FAKE_FAILURES, DyclError):
                raise
            except Exception as error:
                if _TORCH_BUG in str(error):
                    raise Unknown(str(error)) from error
                raise genuine_error(machine, error, func, args, kwargs) from None
        if isinstance(found, Remembered):
            return found.out, self._watched(found), []
        watch, out = found
        if call is not None and not (watch.random or born):
            results.keep(call, out, asked, watch.written)
        return out, watch, born

    def _piece(self, run: Callable[[Callable[[], Any]], tuple[Watch, Any]], piece: Piece) -> Any:
        """One result of several, settled by itself."""
        call = self.machine.hints.results.call(self.machine, piece.target, piece.function, piece.args, {})
        found = settled(self.machine, call, (piece.args, {}), partial(run, partial(piece.function, *piece.args)))
        return found.out if isinstance(found, Remembered) else found[1]

    def _watched(self, remembered: Remembered) -> Watch:
        watch = Watch(self.machine.weight_written)
        watch.wrote = remembered.wrote
        return watch

    def _learn_count(self, args: tuple[Any, ...], results: list[torch.Tensor]) -> None:
        """Counts of one and the same mask are equal."""
        mask = args[1] if len(args) > 1 and isinstance(args[1], torch.Tensor) else args[0]
        if mask.dim() and (mask is args[0] or tuple(mask.shape) == tuple(args[0].shape)):
            masks.learn_count(self.machine, mask, results[0].shape[0])

    def _mutations(self, watch: Watch) -> tuple[tuple[ValueId, Value], ...]:
        machine = self.machine
        pairs: list[tuple[ValueId, Value]] = []
        for storage in dict.fromkeys(machine.memory_of(tensor) for tensor in watch.written.values()):
            roots = machine.state.aliases.get(storage, ())
            if storage in machine.input_storages and not received.filled(machine, storage):
                raise UnsupportedError(
                    "DY212",
                    machine.loc(),
                    "an input of the model is written in place, which the caller would see",
                    hint="write into a clone() of the input",
                )
            machine.carried.write(machine, roots)
            machine.check_shared_at_times(storage)
            machine.weight_storage_written(storage)
            machine.check_tensor_write(storage)
            if storage in machine.parted:
                parting.keep_together(machine, [machine.parted[storage]])
            if storage in machine.state.listed:
                raise UnsupportedError(
                    "DY207",
                    machine.loc(),
                    "a tensor is written that lies in a list of run-time length, in a cache, or twice on the model",
                    hint="put a clone() there, or keep one",
                )
            if any(leaf.untyped_storage()._cdata == storage for leaf in machine.given_tensors()):
                raise UnsupportedError(
                    "DY208",
                    machine.loc(),
                    "a recursive function writes into a tensor that it is handed",
                    hint="return the new content",
                )
            pairs += machine.rename_content(roots)
        return tuple(pairs)

    def _known_results(self, func: Any, args: Any, kwargs: Any, watch: Watch, out: Any) -> list[torch.Tensor] | None:
        """The values of the results, where all operands are small constants."""
        machine = self.machine
        outs = [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        if (
            watch.wrote
            or not outs
            or sum(leaf.numel() if all(isinstance(d, int) for d in leaf.shape) else SMALL + 1 for leaf in outs) > SMALL
        ):
            return None
        real: dict[int, torch.Tensor] = {}
        for leaf in leaves((args, kwargs)):
            if isinstance(leaf, (Scalar, RuntimeList, torch.SymInt, torch.SymFloat, torch.SymBool)):
                return None
            if isinstance(leaf, torch.Tensor):
                value = known_bools(machine, leaf)
                if value is None:
                    return None
                real[id(leaf)] = value
        real_args, real_kwargs = map_leaves(lambda leaf: real.get(id(leaf), leaf), (args, kwargs))
        with unset_fake_temporarily(), torch._C.DisableTorchFunction():
            result = func(*real_args, **real_kwargs)
        return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]

    def module(self, path: str, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record the call of a whole module; raises `Unknown` where it decides something inside."""
        if self.machine.has_symbols(args, kwargs) and any(isinstance(m, torch.nn.RNNBase) for m in module.modules()):
            raise Unknown("torch would unroll its steps")  # its function has a rule here, see shapeops
        try:
            return self.record(CallModule(path), module, args, kwargs)
        except FAKE_FAILURES as error:
            raise Unknown(f"{type(error).__name__}: {error}") from error

    # ------------------------------------------------------------ tensors to Python

    def item(self, tensor: torch.Tensor) -> Any:
        """The Python number of a tensor of one element."""
        if all(isinstance(size, int) for size in tensor.shape) and tensor.numel() != 1:
            raise RuntimeError(f"a Tensor with {tensor.numel()} elements cannot be converted to Scalar")
        return self.machine.item(tensor)

    def truth(self, tensor: torch.Tensor) -> bool:
        """`bool(tensor)`: an error for more than one element, as in torch."""
        if all(isinstance(size, int) for size in tensor.shape) and tensor.numel() != 1:
            kind = "no" if tensor.numel() == 0 else "more than one"
            raise RuntimeError(f"Boolean value of Tensor with {kind} value{'s' if tensor.numel() else ''} is ambiguous")
        return self.machine.truth(self.machine.item(tensor))

    def tolist(self, tensor: torch.Tensor) -> Any:
        """Nested lists of run-time numbers."""
        return self.machine.tolist(tensor)

    def equal(self, left: torch.Tensor, right: torch.Tensor) -> Any:
        """`torch.equal`, as an elementwise comparison and a reduction."""
        if left.dtype != right.dtype or tuple(left.shape) != tuple(right.shape):
            if left.dtype == right.dtype and left.dim() != right.dim():
                return False
            if left.dtype == right.dtype and all(isinstance(s, int) for s in (*left.shape, *right.shape)):
                return False
            return self.machine.refuse_equal(left, right)
        return self.item(self._sub(torch.all, self._sub(torch.eq, left, right)))

    def allclose(self, left: torch.Tensor, right: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """`torch.allclose`, as `isclose` and a reduction."""
        return self.item(self._sub(torch.all, self._sub(torch.isclose, left, right, *args, **kwargs)))

    def convert(self, tensor: torch.Tensor, kind: type) -> Any:
        """`int(tensor)`, `float(tensor)`: reached natively only, where a Python number is demanded at once."""
        return self.machine.concrete(self.machine.convert(kind, self.item(tensor)))

    def iterate(self, tensor: torch.Tensor) -> Any:
        """The rows of a tensor."""
        if tensor.dim() == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.call(torch.Tensor.unbind, (tensor, 0), {}))

    def array(self, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """`tensor.numpy()`: an array of the host."""
        if tensor.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self.machine.array_of_tensor(tensor)

    def contains(self, tensor: torch.Tensor, element: Any) -> bool:
        """`element in tensor`."""
        return self.truth(self._sub(torch.any, self.call(torch.eq, (tensor, element), {})))

    def _sub(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        return self.call(func, args, kwargs)

    def _tensor_of(self, data: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> Any:
        """`torch.tensor` of nested lists that hold run-time numbers or 0-d tensors."""
        if isinstance(data, torch.Tensor):
            moved = data if dtype is None else self._sub(torch.Tensor.to, data, dtype)
            return self._sub(torch.Tensor.clone, moved)
        if dtype is None:
            dtype = self.machine.inferred_dtype(data)
        return self._build(data, dtype)

    def _build(self, data: Any, dtype: torch.dtype) -> Any:
        if isinstance(data, (list, tuple)):
            return self._sub(torch.stack, [self._build(item, dtype) for item in data])
        if isinstance(data, torch.Tensor):
            return self._sub(torch.Tensor.to, self._sub(torch.Tensor.reshape, data, ()), dtype)
        return self._sub(torch.full, (), data, dtype=dtype)


_CONVERSIONS: dict[str, Callable[..., Any]] = {
    "item": Recorder.item,
    "__bool__": Recorder.truth,
    "is_nonzero": Recorder.truth,
    "tolist": Recorder.tolist,
    "equal": Recorder.equal,
    "allclose": Recorder.allclose,
    "__iter__": Recorder.iterate,
    "__contains__": Recorder.contains,
    "numpy": Recorder.array,
    "__array__": Recorder.array,
    "__int__": lambda recorder, tensor: recorder.convert(tensor, int),
    "__index__": lambda recorder, tensor: recorder.convert(tensor, int),
    "__float__": lambda recorder, tensor: recorder.convert(tensor, float),
}


def _has_python_inside(func: Any) -> bool:
    return inspect.isfunction(inspect.unwrap(func)) if callable(func) else False


def _body(func: Any) -> Any:
    """A function of torch that does not first ask the mode it is called by to do its work."""
    if type(func) is not types.FunctionType or _OVERRIDES.isdisjoint(func.__code__.co_names):
        return func
    names = func.__globals__ | {name: _no_override for name in _OVERRIDES if name in func.__globals__}
    body = types.FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    body.__kwdefaults__ = func.__kwdefaults__
    return body


def _no_override(*args: Any) -> bool:
    return False


_OVERRIDES = frozenset({"has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"})


def _has_runtime_leaf(data: Any) -> bool:
    return any(isinstance(leaf, (Scalar, torch.Tensor, *SYMBOLS)) for leaf in leaves(data))


def _identity(arguments: Any) -> tuple[Any, ...]:
    """What makes two calls the same call when an instruction is run again: the same objects, equal constants."""
    out: list[Any] = []
    for leaf in leaves(arguments):
        if isinstance(leaf, Scalar):
            out.append(("s", leaf.vid, leaf.expr))
        elif isinstance(leaf, torch.Tensor):
            out.append(("t", id(leaf)))
        else:
            out.append(
                repr(leaf)
                if isinstance(leaf, (int, float, str, bool, type(None), torch.dtype))
                else type(leaf).__name__
            )
    return tuple(out)
