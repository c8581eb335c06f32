"""The whole numbers of the host as sums: `a - 1` and `b + 2` are compared without knowing what `a` and `b` are.

A sum has a constant and terms: how often it has a value whose making says nothing (what a kernel counted, a parameter
of a block), or the length of such a list. Python's integers have no end, so sums are exact. The lengths of lists are
followed through `append`, so a list to which something was appended is not empty.

Parameters of one block often go along together: a loop carries the size of a tensor, and that size less one. Such pairs
are guessed from one edge and kept if every edge agrees, all guesses being taken as true at once (an induction over the
steps of a run: what holds whenever a block was entered before holds when it is entered again; Karr, "Affine
Relationships Among Variables of a Program", 1976, does this for sums of any form).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dycl.ir.dataflow import value_types
from dycl.ir.graph import entry_blocks
from dycl.ir.nodes import Block, Edge, HostOp, edges
from dycl.ir.program import Program
from dycl.ir.values import (
    BlockId,
    ListType,
    Lit,
    Operand,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    TensorType,
    ValueId,
    ValueType,
)


@dataclass(frozen=True, slots=True)
class Term:
    """A value that a sum has as it is, or the length of a list."""

    value: ValueId
    is_length: bool = False


@dataclass(frozen=True, slots=True)
class Sum:
    """A constant, and terms with how often each is added, none of them 0 times."""

    constant: int = 0
    terms: frozenset[tuple[Term, int]] = frozenset()

    def plus(self, other: Sum, times: int = 1) -> Sum:
        """The sum of both, the other taken so many times."""
        counts = dict(self.terms)
        for term, count in other.terms:
            counts[term] = counts.get(term, 0) + times * count
        return Sum(
            self.constant + times * other.constant, frozenset((term, count) for term, count in counts.items() if count)
        )

    def minus(self, other: Sum) -> Sum:
        """The difference."""
        return self.plus(other, -1)

    def times(self, factor: int) -> Sum:
        """The sum so many times."""
        return Sum().plus(self, factor)


# Not `list_set` and `list_delete`: with an index that the list does not have they give a list of another length.
_SAME_LENGTH = frozenset({"list_copy", "list_reversed", "list_sorted", "tuple_of"})
_RESIZED = {"list_append": 1, "list_insert": 1}


class Sums:
    """The whole numbers of a program as sums."""

    def __init__(self, program: Program) -> None:
        self.types: Mapping[ValueId, ValueType] = value_types(program)
        self.makers = {op.result.id: op for block in program.blocks for op in block.ops if isinstance(op, HostOp)}
        self.incoming = _find_incoming(program)
        self._starts = entry_blocks(program)
        self._known: dict[Term, Sum] = {}
        self._equal: dict[Term, Sum] = {}  # parameters that go along with another one
        self._relate(program)

    def is_open(self, block: Block) -> bool:
        """Whether the parameters of a block are told by its edges alone."""
        return block.id not in self._starts and bool(self.incoming[block.id])

    def of(self, operand: Operand) -> Sum | None:
        """The number as a sum; None if it is no integer."""
        if isinstance(operand, Lit):
            return Sum(operand.value) if type(operand.value) is int else None
        if not isinstance(operand, Ref) or not _is_int(self.types.get(operand.id)):
            return None
        return self._of_term(Term(operand.id))

    def length_of(self, items: Operand) -> Sum | None:
        """The length of a list as a sum; None if it is no list that the program has made."""
        if isinstance(items, Seq):
            return Sum(len(items.items))
        if not isinstance(items, Ref) or not isinstance(self.types.get(items.id), ListType):
            return None
        return self._of_term(Term(items.id, is_length=True))

    def _of_term(self, term: Term) -> Sum:
        if term not in self._known:
            made = self._find(term)
            self._known[term] = Sum(0, frozenset([(term, 1)])) if made is None else made
        return self._known[term]

    def _find(self, term: Term) -> Sum | None:
        """A term in other terms; None if nothing is known of it."""
        equal = self._equal.get(term)
        if equal is not None:
            ((leader, _),) = equal.terms
            return self._of_term(leader).plus(Sum(equal.constant))
        op = self.makers.get(term.value)
        if op is None:
            return None
        return self._length_made(op) if term.is_length else self._made(op)

    def _made(self, op: HostOp) -> Sum | None:
        match op.function:
            case "add" | "sub":
                left, right = map(self.of, op.args)
                return None if left is None or right is None else left.plus(right, 1 if op.function == "add" else -1)
            case "mul":
                left, right = map(self.of, op.args)
                if left is None or right is None or (left.terms and right.terms):
                    return None
                return left.times(right.constant) if left.terms else right.times(left.constant)
            case "neg":
                inner = self.of(op.args[0])
                return None if inner is None else inner.times(-1)
            case "int":
                return self.of(op.args[0])
            case "list_len":
                return self.length_of(op.args[0])
            case "size":
                return self._size(op.args[0], op.args[1])
        return None

    def _size(self, tensor: Operand, dim: Operand) -> Sum | None:
        """The size of what the host has put together from the items of a list."""
        maker = self.makers.get(tensor.id) if isinstance(tensor, Ref) else None
        if maker is None or maker.function not in ("stack", "cat") or maker.args[1] != dim:
            return None
        if not isinstance(dim, Lit) or type(dim.value) is not int or dim.value < 0:
            return None
        length = self.length_of(maker.args[0])
        if length is None or maker.function == "stack":
            return length
        items = self.types.get(maker.args[0].id) if isinstance(maker.args[0], Ref) else None
        item = items.element if isinstance(items, ListType) else None
        size = item.shape[dim.value] if isinstance(item, TensorType) and dim.value < len(item.shape) else None
        return length.times(size) if isinstance(size, int) else None

    def _length_made(self, op: HostOp) -> Sum | None:
        if op.function in _SAME_LENGTH:
            return self.length_of(op.args[0])
        if op.function in _RESIZED:
            length = self.length_of(op.args[0])
            return None if length is None else length.plus(Sum(_RESIZED[op.function]))
        if op.function == "list_concat":
            left, right = map(self.length_of, op.args)
            return None if left is None or right is None else left.plus(right)
        return None

    # ------------------------------------------------------------ parameters that go along

    def _relate(self, program: Program) -> None:
        """Find the parameters that are another one of their block and a constant."""
        blocks = [block for block in program.blocks if self.is_open(block)]
        guesses = {term: found for block in blocks for term, found in self._guess(block).items()}
        self._follow(guesses)
        while wrong := [term for block in blocks for term in self._find_wrong(block)]:
            for term in wrong:
                del guesses[term][0]
            self._follow(guesses)

    def _follow(self, guesses: Mapping[Term, list[Sum]]) -> None:
        self._equal = {term: found[0] for term, found in guesses.items() if found}
        self._known = {}

    def _given(self, edge: Edge, block: Block) -> dict[Term, Sum]:
        """What an edge hands to the parameters that are integers, or as lists of what length."""
        found: dict[Term, Sum] = {}
        for param, arg in zip(block.params, edge.args, strict=True):
            is_list = isinstance(param.type, ListType)
            given = self.length_of(arg) if is_list else self.of(arg) if _is_int(param.type) else None
            if given is not None:
                found[Term(param.id, is_list)] = given
        return found

    def _guess(self, block: Block) -> dict[Term, list[Sum]]:
        """What one edge says of pairs of parameters: each as those before it that differ by a constant."""
        found: dict[Term, list[Sum]] = {}
        given = self._given(self.incoming[block.id][0][1], block)
        for term, value in given.items():
            differences = ((leader, value.minus(given[leader])) for leader in found)
            found[term] = [
                Sum(each.constant, frozenset([(leader, 1)])) for leader, each in differences if not each.terms
            ]
        return found

    def _find_wrong(self, block: Block) -> list[Term]:
        """The guesses about parameters of a block that some edge into it contradicts."""
        related = {param.id for param in block.params} & {term.value for term in self._equal}
        if not related:
            return []
        wrong = []
        all_given = [self._given(edge, block) for _, edge in self.incoming[block.id]]
        for term in all_given[0]:
            equal = self._equal.get(term)
            if equal is None:
                continue
            ((leader, _),) = equal.terms
            pairs = [(given.get(term), given.get(leader)) for given in all_given]
            if any(mine is None or its is None or mine.minus(its) != Sum(equal.constant) for mine, its in pairs):
                wrong.append(term)
        return wrong


def _find_incoming(program: Program) -> dict[BlockId, list[tuple[Block, Edge]]]:
    """The edges into each block, and the blocks that they leave."""
    found: dict[BlockId, list[tuple[Block, Edge]]] = {block.id: [] for block in program.blocks}
    for block in program.blocks:
        for edge in edges(block.end):
            found[edge.target].append((block, edge))
    return found


def _is_int(kind: ValueType | None) -> bool:
    return isinstance(kind, ScalarType) and kind.kind is ScalarKind.INT
