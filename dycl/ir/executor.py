"""The reference executor: what a program means, run with torch.

A `TensorOp` calls torch as the source did: it may write into memory that others see. A `Dispatch` is a compiled
subgraph: it never writes into its arguments, so a value that the partition forgot to rebind shows as a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch.utils import _pytree

from dycl.diagnostics import InternalError, SourceRange
from dycl.ir.dataflow import find_liveness
from dycl.ir.environment import Environment
from dycl.ir.hosteffects import DRAWS
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import (
    Block,
    Branch,
    CallFunction,
    Dispatch,
    Edge,
    HostOp,
    Invoke,
    Jump,
    Op,
    Raise,
    Reply,
    Return,
    Target,
    TensorOp,
)
from dycl.ir.objects import bind_arguments, bind_inputs, build_object, check_type, find_class, find_weight
from dycl.ir.printer import print_op
from dycl.ir.program import Program
from dycl.ir.randomness import Streams
from dycl.ir.resolve import resolve_function
from dycl.ir.values import BlockId, Operand, Value, ValueId, Weight, operand_parts
from dycl.ir.verifier import verify
from dycl.ir.writes import do_write

Decide = Callable[[BlockId, bool], bool]
Values = dict[ValueId, object]

_READS = ("item", "item_at")  # the host functions that read a number out of a tensor


class Executor:
    """A program ready to be called; what the model keeps on itself is kept between calls.

    `decide(block, natural)` says which side a branch takes (by itself: the natural one). Of the last call, `decisions`
    are the sides taken and `observations` what was read out of tensors, both in order. A call that raises without a
    `Raise`, as torch or Python does by itself, leaves the state as it was, but for what was written in place.
    """

    def __init__(self, program: Program, environment: Environment, *, decide: Decide | None = None) -> None:
        verify(program, after="the stage before the executor")
        self.program = program
        self.environment = environment
        self.random = Streams()
        self.tunables: dict[str, object] = {tunable.name: tunable.default for tunable in program.tunables}
        self.decisions: list[tuple[BlockId, bool]] = []
        self.observations: list[tuple[SourceRange, object]] = []
        self._decide = decide
        self._live_in = find_liveness(program).live_in
        self._subgraphs = {subgraph.id: subgraph for subgraph in program.subgraphs}
        self._weight_memory = {_memory(weight) for weight in environment.weights.values()} - {0}
        self.reset()

    def reset(self) -> None:
        """Forget the state: the next call is the first."""
        self._resume, self._state = 0, self._initial()

    def call(self, *args: object, **kwargs: object) -> object:
        """Call the program as the model is called."""
        return self.call_method(self.program.method, *args, **kwargs)

    def call_method(self, method: str, /, *args: object, **kwargs: object) -> object:
        """Call one of its methods."""
        inputs = bind_inputs(self.program, args, kwargs, self.environment, method)
        return self.run(inputs, method, bind_arguments(self.program, args, kwargs, method))

    def run(self, inputs: Sequence[object], method: str = "", arguments: Mapping[str, object] | None = None) -> object:
        """Call the program, or one of its methods, with its run-time inputs, in order.

        `arguments` are what the caller sees written, by the names of the parameters.
        """
        self.decisions, self.observations, self._arguments = [], [], arguments or {}
        names = [found.name for found in self.program.methods]
        entry = self.program.entries_of(self._resume)[names.index(method) if method else 0]
        block = self.program.block(entry.block)
        wanted = block.params[: len(block.params) - len(self._state)]
        if len(inputs) != len(wanted):
            raise TypeError(f"expected {len(wanted)} inputs, got {len(inputs)}")
        sizes: dict[str, int] = {}
        for index, (value, param) in enumerate(zip(inputs, wanted, strict=True)):
            check_type(value, param.type, f"input {index} {param.name}".rstrip(), sizes)
        with torch.no_grad(), self._guarded_weights():
            return self._run_blocks(block, [*inputs, *self._state])

    @property
    def state(self) -> dict[str, object]:
        """The attributes that the model writes, by their paths, as the next call will find them."""
        entry = self.program.entries_of(self._resume)[0]
        params = self.program.block(entry.block).params
        kept = params[len(params) - len(self._state) :]
        values: Values = {param.id: value for param, value in zip(kept, self._state, strict=True)}
        return {slot.name: build_object(slot.template, values, self.environment) for slot in entry.slots}

    # ------------------------------------------------------------ control flow

    def _run_blocks(self, block: Block, args: Sequence[object]) -> object:
        values: Values = {}
        while True:
            values = self._enter(block, args, values)
            for op in block.ops:
                self._run_op(op, values)
            end = block.end
            if isinstance(end, Return):
                result = self._object(end.value, values)
                self._leave(end, values)
                return result
            if isinstance(end, Raise):
                error = find_class(end.class_name, self.environment)(*self._objects(end.args, values))
                self._leave(end, values)
                raise error
            if isinstance(end, Reply):
                return self._objects(end.values, values)
            edge = end.edge if isinstance(end, Jump) else self._choose(block, end, values)
            block, args = self.program.block(edge.target), self._objects(edge.args, values)

    def _enter(self, block: Block, args: Sequence[object], before: Values) -> Values:
        """The values that the block may use: those live in it, and its parameters."""
        missing = sorted(value for value in self._live_in[block.id] if value not in before)
        if missing:
            raise InternalError(f"block {block.id} uses values that did not reach it: {missing}")
        values = {value: before[value] for value in self._live_in[block.id]}
        values.update((param.id, arg) for param, arg in zip(block.params, args, strict=True))
        return values

    def _choose(self, block: Block, end: Branch, values: Values) -> Edge:
        natural = values[end.cond]
        if not isinstance(natural, bool):
            raise InternalError(f"{end.loc}: the condition of block {block.id} is {natural!r}")
        side = natural if self._decide is None else self._decide(block.id, natural)
        self.decisions.append((block.id, side))
        return end.if_true if side else end.if_false

    def _leave(self, end: Return | Raise, values: Values) -> None:
        written = self._objects([write.value for write in end.writes], values)
        for write, value in zip(end.writes, written, strict=True):
            do_write(write, self._arguments, value)
        self._resume, self._state = end.resume, tuple(self._objects(end.state, values))

    # ------------------------------------------------------------ operations

    def _run_op(self, op: Op, values: Values) -> None:
        try:
            if isinstance(op, TensorOp):
                self._run_tensor_op(op, values)
            elif isinstance(op, HostOp):
                self._run_host_op(op, values)
            elif isinstance(op, Invoke):
                self._run_invoke(op, values)
            else:
                self._run_dispatch(op, values)
        except Exception as error:
            error.add_note(f"{op.loc}: {print_op(op)}")
            raise

    def _run_tensor_op(self, op: TensorOp, values: Values) -> None:
        for old, _ in op.mutates:
            written = values[old]
            if isinstance(written, torch.Tensor) and _memory(written) in self._weight_memory:
                raise InternalError(f"{op.loc}: %{old} is written, and it is a weight")
        kwargs = {name: self._object(operand, values) for name, operand in op.kwargs}
        returned = self._resolve(op.target)(*self._objects(op.args, values), **kwargs)
        leaves = [leaf for leaf in _pytree.tree_leaves(returned) if isinstance(leaf, torch.Tensor)]
        _define(op.results, leaves, values, op.loc)
        _define(tuple(new for _, new in op.mutates), [values[old] for old, _ in op.mutates], values, op.loc)

    def _run_host_op(self, op: HostOp, values: Values) -> None:
        args = self._objects(op.args, values)
        if op.function.startswith(DRAWS):
            result = self._draw(op.function.removeprefix(DRAWS), args)
        else:
            call = self._read_tunable if op.function == "tunable" else HOST_FUNCTIONS[op.function].call
            result = call(*args)
        if op.function in _READS:
            self.observations.append((op.loc, result))
        _define((op.result,), [result], values, op.loc)

    def _draw(self, name: str, args: Sequence[object]) -> object:
        given = [arg.detach().numpy() if isinstance(arg, torch.Tensor) else arg for arg in args]
        drawn = getattr(self.random, name)(*given)
        return torch.from_numpy(drawn) if isinstance(drawn, np.ndarray) else drawn

    def _read_tunable(self, name: object) -> object:
        return self.tunables[str(name)]

    def _run_dispatch(self, op: Dispatch, values: Values) -> None:
        subgraph = self._subgraphs[op.subgraph]
        args = self._objects(op.args, values)
        if any(inner.mutates for inner in subgraph.ops):
            args = [arg.clone() if isinstance(arg, torch.Tensor) else arg for arg in args]
        inside: Values = {}
        _define(subgraph.params, args, inside, op.loc)
        for inner in subgraph.ops:
            self._run_op(inner, inside)
        _define(op.results, [inside[value] for value in subgraph.results], values, op.loc)

    def _run_invoke(self, op: Invoke, values: Values) -> None:
        block = self.program.block(self.program.procedures[op.procedure].block)
        replied = self._run_blocks(block, self._objects(op.args, values))
        assert isinstance(replied, list)
        pairs = [(value, found) for value, found in zip(op.results, replied, strict=True) if found is not None]
        _define(tuple(value for value, _ in pairs), [found for _, found in pairs], values, op.loc)
        values.update((value.id, None) for value, found in zip(op.results, replied, strict=True) if found is None)

    def _resolve(self, target: Target) -> Callable[..., object]:
        if isinstance(target, CallFunction):
            return resolve_function(target.name)
        if target.path not in self.environment.modules:
            raise InternalError(f"the environment has no module {target.path!r}")
        return self.environment.modules[target.path]

    # ------------------------------------------------------------ operands and weights

    def _object(self, operand: Operand, values: Values) -> object:
        return build_object(operand, values, self.environment)

    def _objects(self, operands: Sequence[Operand], values: Values) -> list[object]:
        return [build_object(operand, values, self.environment) for operand in operands]

    def _initial(self) -> tuple[object, ...]:
        """The state before the first call, with copies of the weights in it, for the program may write its state."""
        parts = [part for operand in self.program.initial for part in operand_parts(operand)]
        names = [part.name for part in parts if isinstance(part, Weight)]
        copies = {name: find_weight(name, self.environment).detach().clone() for name in names}
        own = replace(self.environment, weights=copies)
        return tuple(build_object(operand, {}, own) for operand in self.program.initial)

    @contextmanager
    def _guarded_weights(self) -> Iterator[None]:
        """Check that no weight is written inside."""
        watched = {name: w for name, w in self.environment.weights.items() if not w.is_inference()}
        before = {name: weight._version for name, weight in watched.items()}
        try:
            yield
        finally:
            written = [name for name, weight in watched.items() if weight._version != before[name]]
            if written:
                raise InternalError(f"the run has written the weights {written}")


def _define(definitions: tuple[Value, ...], objects: Sequence[object], values: Values, loc: SourceRange) -> None:
    """Bind values to objects, and check that these are what their types promise."""
    if len(definitions) != len(objects):
        raise InternalError(f"{loc}: {len(definitions)} results are declared, there are {len(objects)}")
    for value, found in zip(definitions, objects, strict=True):
        try:
            check_type(found, value.type, f"%{value.id} {value.name}".rstrip(), {})
        except (TypeError, ValueError) as error:
            raise InternalError(f"{loc}: {error}") from None
        values[value.id] = found


def _memory(tensor: torch.Tensor) -> int:
    """The address of a tensor's storage, 0 if it has none."""
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else 0
