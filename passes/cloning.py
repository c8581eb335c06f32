"""Copies of blocks, and one value again where what was made once is now made in several places."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from dycl.ir.dataflow import block_definitions
from dycl.ir.nodes import Block, Edge, Invoke, TensorOp, edges
from dycl.ir.program import Program
from dycl.ir.sizes import size_names
from dycl.ir.substitution import Substitution, map_edges, substitute_block
from dycl.ir.values import BlockId, Operand, Ref, ValueId
from dycl.passes.rewriting import ValueIds, rename_results
from dycl.passes.sizes import Sizes, rename_op_sizes, retyped, type_names


@dataclass(slots=True)
class Blocks:
    """The blocks of a program while they are rewritten; what is new has numbers and names that nothing has."""

    program: Program
    found: dict[BlockId, Block] = field(init=False)
    values: ValueIds = field(init=False)
    _names: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.found = {block.id: block for block in self.program.blocks}
        self.values = ValueIds(self.program)
        self._names = {name for block in self.program.blocks for name in _names_in(block)}

    def finish(self) -> Program:
        """The program with these blocks."""
        return replace(self.program, blocks=tuple(self.found[BlockId(index)] for index in range(len(self.found))))

    def reserve(self) -> BlockId:
        """The number of a block that is still to be made; it is made before the next one."""
        return BlockId(len(self.found))

    def new_sizes(self, blocks: Iterable[Block]) -> Sizes:
        """Names of their own for the sizes that blocks speak of; those of the inputs are the same everywhere."""
        given = {dimension.name for dimension in self.program.dimensions}
        # What procedures hand back has the same names wherever they are called.
        calls = (op for block in self.program.blocks for op in block.ops if isinstance(op, Invoke))
        given.update(name for op in calls for value in op.results for name in type_names(value.type))
        sizes: Sizes = {}
        for name in dict.fromkeys(name for block in blocks for name in _names_in(block)):
            if name not in given:
                number = next(n for n in range(len(self._names) + 1) if f"{name}_{n}" not in self._names)
                sizes[name] = f"{name}_{number}"
                self._names.add(f"{name}_{number}")
        return sizes

    def copy(self, blocks: Iterable[Block], mapping: Substitution, sizes: Sizes) -> dict[BlockId, BlockId]:
        """Copy blocks whose values are used among themselves alone; which block is the copy of which.

        `mapping`: what they use of others is replaced so; it knows what they define, then.
        """
        blocks = tuple(blocks)
        first = len(self.found)
        ids = {block.id: BlockId(first + index) for index, block in enumerate(blocks)}
        made = []
        for block in blocks:
            params = tuple(self.values.fresh(param) for param in block.params)
            mapping.update((old.id, Ref(new.id)) for old, new in zip(block.params, params, strict=True))
            ops = tuple(rename_results(op, mapping, self.values) for op in block.ops)
            made.append(replace(block, id=ids[block.id], params=params, ops=ops))
        for block in made:
            block = _renamed(substitute_block(block, mapping), sizes)
            end = map_edges(block.end, lambda _, edge: Edge(ids.get(edge.target, edge.target), edge.args))
            self.found[block.id] = replace(block, end=end)
        return ids

    def join(
        self, versions: Mapping[BlockId, Mapping[ValueId, Operand]], live: Mapping[BlockId, Collection[ValueId]]
    ) -> bool:
        """Hand on to all other blocks what several blocks make now; `versions` say what stands for it behind each.

        `live`: what a block uses, or hands on, and does not define. False where a version is missing: nothing is done.
        """
        values = {value for known in versions.values() for value in known}
        types = {
            value.id: value for block in self.found.values() for value in block_definitions(block) if value.id in values
        }
        types.update((v.id, v) for block in self.program.blocks for v in block_definitions(block) if v.id in values)
        wanted = {block: sorted(values.intersection(live.get(block, ()))) for block in self.found}
        params = {block: {value: self.values.fresh(types[value]) for value in found} for block, found in wanted.items()}
        changed = {}
        for block in self.found.values():
            mapping: Substitution = {old: Ref(new.id) for old, new in params[block.id].items()}
            known = {**mapping, **versions.get(block.id, {})}
            if not all(value in known for target in _targets(block) for value in params[target]):
                return False
            block = substitute_block(block, mapping)
            end = map_edges(block.end, lambda _, edge, known=known: _hand_on(edge, known, params[edge.target]))  # type: ignore[misc]
            changed[block.id] = replace(block, params=block.params + tuple(params[block.id].values()), end=end)
        self.found.update(changed)
        return True


def _hand_on(edge: Edge, known: Mapping[ValueId, Operand], wanted: Iterable[ValueId]) -> Edge:
    return Edge(edge.target, edge.args + tuple(known[value] for value in wanted))


def _targets(block: Block) -> tuple[BlockId, ...]:
    return tuple(edge.target for edge in edges(block.end))


def _renamed(block: Block, sizes: Sizes) -> Block:
    if not sizes:
        return block
    params = tuple(retyped(param, sizes) for param in block.params)
    return replace(block, params=params, ops=tuple(rename_op_sizes(op, sizes) for op in block.ops))


def _names_in(block: Block) -> Iterable[str]:
    """The names of sizes in a block."""
    for value in block_definitions(block):
        yield from type_names(value.type)
    for op in block.ops:
        if isinstance(op, TensorOp):
            for left, right in op.sizes:
                yield from (*size_names(left), *size_names(right))
