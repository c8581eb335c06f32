"""The HCFG, a heterogeneous control-flow graph: tensor operations, host operations and host decisions in blocks.

Pure data: modules of the model are named; `dycl.ir.environment` binds the names to objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from dycl.diagnostics import UNKNOWN, SourceRange
from dycl.ir.values import BlockId, Lit, Operand, ProcedureId, SubgraphId, Value, ValueId

# ---------------------------------------------------------------- operations


@dataclass(frozen=True, slots=True)
class CallModule:
    """Call a submodule of the model, by its name in the environment (its path, as `get_submodule` takes it)."""

    path: str


@dataclass(frozen=True, slots=True)
class CallFunction:
    """Call a function of torch by its dotted name: `torch.relu`, `torch.Tensor.add_`, `torch.nn.functional.softmax`."""

    name: str


Target = CallModule | CallFunction


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorOp:
    """One call of torch without a decision inside.

    `results` are the tensor leaves of what the call returns, in the order of `torch.utils._pytree`. A call may write
    into its arguments; `mutates` then pairs each earlier value whose memory changed (aliases included) with the name
    its new content has from here on. The old name must not be used after this operation. `sizes` are what is known of
    run-time sizes wherever the operation runs: pairs of equal ones.
    """

    target: Target
    args: tuple[Operand, ...]
    kwargs: tuple[tuple[str, Operand], ...] = ()
    results: tuple[Value, ...]
    mutates: tuple[tuple[ValueId, Value], ...] = ()
    sizes: tuple[tuple[str, int | str], ...] = ()
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOp:
    """One operation of Python on host values; `function` names an entry of `dycl.ir.hostops.HOST_FUNCTIONS`."""

    function: str
    args: tuple[Operand, ...]
    result: Value
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """Run a compiled subgraph. Made by the partition pass; no `TensorOp` is left in a block after it."""

    subgraph: SubgraphId
    args: tuple[Operand, ...]  # Ref, Lit or Weight
    results: tuple[Value, ...]
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoke:
    """Run a procedure. Where it replies in several ways, the values of the ways it did not take are None."""

    procedure: ProcedureId
    args: tuple[Operand, ...]
    results: tuple[Value, ...]
    loc: SourceRange = UNKNOWN


Op = TensorOp | HostOp | Dispatch | Invoke

# ---------------------------------------------------------------- control


@dataclass(frozen=True, slots=True)
class Edge:
    """A way into a block: one argument (Ref, Lit, Weight or Seq of these) for each of its parameters."""

    target: BlockId
    args: tuple[Operand, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """Leave the block by its only edge."""

    edge: Edge
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """Leave the block by one of two edges. The condition is always a host bool, never a tensor."""

    cond: ValueId
    if_true: Edge
    if_false: Edge
    loc: SourceRange = UNKNOWN


_NOTHING = Lit(None)


class WriteKind(Enum):
    """What happens to something of the caller's when a call ends."""

    SET = "set"  # an item of a list or dict is replaced, or a key added at a dict's end
    APPEND = "append"  # a list gets one more item
    REMOVE = "remove"  # a dict loses a key; no value
    TRUNCATE = "truncate"  # a list keeps so many items
    REPLACE = "replace"  # a list gets the items of another
    FILL = "fill"  # a tensor gets the elements of another of its dtype and shape


@dataclass(frozen=True, slots=True)
class Write:
    """A change of what the caller has passed, seen by it when the call ends: a list, a dict or a tensor.

    `place` says what is written: the name of a parameter, then indices and keys; for `SET` and `REMOVE` it ends with
    the item's own.
    """

    kind: WriteKind
    place: tuple[object, ...]
    value: Operand = _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Leave the program with a value.

    `writes` are done in their order, all values being known before the first. The next call finds the state of kind
    `resume`, its entry's state parameters bound to `state`.
    """

    value: Operand
    resume: int = 0
    state: tuple[Operand, ...] = ()
    writes: tuple[Write, ...] = ()
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise:
    """Leave the program with an exception of class `class_name` (`module:qualname`); the rest as for `Return`."""

    class_name: str
    args: tuple[Operand, ...]
    resume: int = 0
    state: tuple[Operand, ...] = ()
    writes: tuple[Write, ...] = ()
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Leave the procedure with these results."""

    values: tuple[Operand, ...]
    loc: SourceRange = UNKNOWN


Terminator = Jump | Branch | Return | Raise | Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Straight-line work and one terminator."""

    id: BlockId
    params: tuple[Value, ...] = ()
    ops: tuple[Op, ...] = ()
    end: Terminator
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """Branch-free tensor work that is compiled as one.

    `params` are its inputs (tensors and host scalars), `results` the values it hands out. Subgraphs of equal
    `structure` differ in their weights alone; the structure is exported once. -1: not yet deduplicated.
    """

    id: SubgraphId
    name: str
    params: tuple[Value, ...]
    ops: tuple[TensorOp, ...]
    results: tuple[ValueId, ...]
    structure: int = -1
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """A function of the source that calls itself in an unknown depth.

    Its blocks are the program's, reached from `block` alone, whose parameters are the arguments. They end in `Reply`,
    or in a `Raise` that leaves the whole program. `is_rest`: it is what such a function does once it is settled that it
    calls itself; who invokes it has done what comes before (`passes/split.py`).
    """

    id: ProcedureId
    name: str
    block: BlockId
    is_rest: bool = False
    loc: SourceRange = UNKNOWN


def edges(end: Terminator) -> tuple[Edge, ...]:
    """The edges that may be taken next, in source order."""
    match end:
        case Jump(edge=edge):
            return (edge,)
        case Branch(if_true=yes, if_false=no):
            return (yes, no)
        case Return() | Raise() | Reply():
            return ()
        case _:
            assert_never(end)
