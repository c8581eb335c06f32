"""A control-flow graph as nested Python statements, no block written twice.

Reducible graphs are structured along the dominator tree (N. Ramsey, "Beyond Relooper", ICFP 2022): loop headers become
loops, a block with several ways in (a merge) stands after the code of the block that dominates it. Where that code is
nested too deeply to fall out of, it is wrapped in a loop that runs once and is left by `break`. Irreducible graphs, and
what would nest too deeply for Python, become one loop over a variable `goto`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dycl.hostgen.flow import Flow, find_flow
from dycl.hostgen.jumps import resolve_jumps
from dycl.hostgen.recursion import Call, run
from dycl.hostgen.shape import (
    Body,
    Decision,
    Enter,
    Goto,
    If,
    IfGoto,
    Leave,
    Loop,
    Mark,
    SetGoto,
    Test,
    Tree,
    While,
    Work,
)
from dycl.ir.graph import ROOT
from dycl.ir.program import Program
from dycl.ir.values import BlockId

# Merges reached from deeper than this get a loop that runs once.
MAX_TAIL_DEPTH = 2
# If other jumps leave the code too, a variable is needed: not before this depth.
MAX_NESTING = 8
# Python allows 20 nested loops and 100 levels of indentation.
MAX_LOOPS = 14
MAX_DEPTH = 30
# An exit of a loop of at most this many blocks may stand inside it.
SMALL_EXIT = 3


@dataclass(slots=True)
class Exits:
    """The labels that a tree jumps to, each with how deep in tests its deepest jump is."""

    depth: dict[BlockId, int] = field(default_factory=dict)

    def add(self, other: Exits, deeper: int = 0) -> None:
        """Take over the jumps of a part."""
        for target, depth in other.depth.items():
            self.depth[target] = max(self.depth.get(target, 0), depth + deeper)


Part = tuple[Tree, Exits]


def build_structure(program: Program, bare: frozenset[BlockId]) -> Body:
    """The statements of the whole method; `bare` are the blocks whose text is nothing but their decision."""
    flow = find_flow(program)
    if flow.reducible:
        tree, _ = run(_Builder(program, flow, bare).emit(ROOT))
        body = resolve_jumps(tree)
        loops, depth = run(_measure(body))
        if loops <= MAX_LOOPS and depth <= MAX_DEPTH:
            return body
    return resolve_jumps(_flat_tree(program, flow))


def count_detours(body: Body) -> int:
    """How often the text would leave the straight way: loops that run once, a variable that says where to go."""
    return run(_count_detours(body))


def _count_detours(body: Body) -> Call[int]:
    total = 0
    for item in body:
        if isinstance(item, While):
            inside: int = yield _count_detours(item.body)
            total += inside + item.once
        elif isinstance(item, If):
            for arm in (item.then, item.orelse):
                inside = yield _count_detours(arm)
                total += inside
        elif isinstance(item, IfGoto):
            inside = yield _count_detours(item.then)
            total += inside + item.needed
        elif isinstance(item, SetGoto):
            total += item.needed
    return total


def _measure(body: Body) -> Call[tuple[int, int]]:
    """How deep loops, and statements, are nested."""
    loops = depth = 0
    for item in body:
        inner: tuple[int, int] = (0, 0)
        if isinstance(item, While):
            inner = yield _measure(item.body)
            inner = (inner[0] + 1, inner[1] + 1)
        elif isinstance(item, If):
            then: tuple[int, int] = yield _measure(item.then)
            orelse: tuple[int, int] = yield _measure(item.orelse)
            inner = (max(then[0], orelse[0]), max(then[1], orelse[1]) + 1)
        elif isinstance(item, IfGoto):
            inner = yield _measure(item.then)
            inner = (inner[0], inner[1] + item.needed)
        loops, depth = max(loops, inner[0]), max(depth, inner[1])
    return loops, depth


def _leave_root(program: Program, arms: list[Tree]) -> Tree:
    """Choose the entry to resume at; the arms lead on from there."""
    tree: Tree = []
    for index, arm in reversed(list(enumerate(arms))):
        here: Tree = [Enter(ROOT, index), *arm]
        tree = [Test(Decision(ROOT, index), here, tree, (0, 1))] if tree else here
    return tree


def _flat_tree(program: Program, flow: Flow) -> Tree:
    """Every block under its own guard, in a loop that starts over for jumps back."""
    marks: Tree = []
    for block in flow.order[1:]:
        targets = flow.successors[block]
        arms: list[Tree] = [[Goto(block, index, target)] for index, target in enumerate(targets)]
        tail: Tree = [Leave(block)] if not arms else arms[0]
        if len(arms) == 2:
            tail = [Test(Decision(block), arms[0], arms[1], (0, 0))]
        marks.append(Mark(block, [Work(block), *tail]))
    starts: list[Tree] = [[SetGoto(entry.block, True)] for entry in program.entries]
    return [*_leave_root(program, starts), Loop(None, marks, dispatch=True)]


class _Builder:
    """Builds the tree of a reducible graph, along its dominator tree."""

    def __init__(self, program: Program, flow: Flow, bare: frozenset[BlockId]) -> None:
        self._program = program
        self._flow = flow
        self._bare = bare
        self._listed: dict[BlockId, list[BlockId]] = {}  # merges, under the block whose code they follow
        self._after: dict[BlockId, list[BlockId]] = {}  # what follows a loop, under its header
        self._inline: set[BlockId] = set()
        self._place_blocks()

    def _place_blocks(self) -> None:
        """Decide where the code of each block stands."""
        exits: dict[BlockId, list[BlockId]] = {}
        for block in self._flow.order[1:]:
            left = self._outermost_left(block)
            if left is not None:
                exits.setdefault(left, []).append(block)
            elif self._flow.ways_in[block] == 1:
                self._inline.add(block)
            else:
                self._listed.setdefault(self._flow.parent[block], []).append(block)
        for header, blocks in exits.items():
            inside = self._small_exits(blocks)
            self._inline |= inside
            self._after[header] = [block for block in blocks if block not in inside]

    def _outermost_left(self, block: BlockId) -> BlockId | None:
        """The header of the outermost loop that holds the block's dominator but not the block."""
        header = self._flow.loop_of[self._flow.parent[block]]
        found = None
        while header is not None and block not in self._flow.loops[header]:
            found, header = header, self._flow.outer[header]
        return found

    def _small_exits(self, blocks: list[BlockId]) -> set[BlockId]:
        """Exits of a loop that stand inside it: short ways out of the method, if something else follows the loop."""
        small = {block for block in blocks if self._flow.ways_in[block] == 1 and self._is_small(block)}
        if len(small) == len(blocks):
            small.discard(max(blocks, key=lambda block: (self._flow.size[block], self._flow.place[block])))
        return small

    def _is_small(self, block: BlockId) -> bool:
        """Whether the block and what it dominates are few and never go anywhere else."""
        if self._flow.size[block] > SMALL_EXIT:
            return False
        inside = {block}
        stack = [block]
        while stack:
            for target in self._flow.successors[stack.pop()]:
                if target not in inside:
                    if not self._is_below(target, block):
                        return False
                    inside.add(target)
                    stack.append(target)
        return True

    def _is_below(self, block: BlockId, above: BlockId) -> bool:
        for _ in range(SMALL_EXIT):
            if block == above:
                return True
            block = self._flow.parent[block]
        return False

    def emit(self, block: BlockId) -> Call[Part]:
        """The code of a block and of all it dominates."""
        header = block in self._flow.loops
        tree, exits = yield self._within(block)
        if header:
            exits.depth.pop(block, None)
            tree = [Loop(block, tree)]
        part: Part = yield self._follow((tree, exits), self._after.get(block, []))
        return part

    def _within(self, block: BlockId) -> Call[Part]:
        """The code of a block up to what follows its loop."""
        arms: list[Part] = []
        for index, target in enumerate(self._flow.successors[block]):
            arm: Part = yield self._go(block, index, target)
            arms.append(arm)
        part: Part = yield self._follow(self._end(block, arms), self._listed.get(block, []))
        return part

    def _end(self, block: BlockId, arms: list[Part]) -> Part:
        exits = Exits()
        if block == ROOT:
            for _, arm in arms:
                exits.add(arm, len(self._program.entries) - 1)
            return _leave_root(self._program, [tree for tree, _ in arms]), exits
        if not arms:
            return [Work(block), Leave(block)], exits
        if len(arms) == 1:
            return [Work(block), *arms[0][0]], arms[0][1]
        (then, yes), (orelse, no) = arms
        sizes = [self._arm_size(block, index) for index in (0, 1)]
        exits.add(yes, int(bool(no.depth) and not self._is_elif(block, 0)))
        exits.add(no, int(bool(yes.depth) and not self._is_elif(block, 1)))
        return [Work(block), Test(Decision(block), then, orelse, (sizes[0], sizes[1]))], exits

    def _arm_size(self, block: BlockId, index: int) -> int:
        target = self._flow.successors[block][index]
        return self._flow.size[target] if self._is_inline(block, target) else 0

    def _is_inline(self, block: BlockId, target: BlockId) -> bool:
        """Whether the target's code stands at the edge; not so for an edge back to a loop header."""
        return target in self._inline and self._flow.place[target] > self._flow.place[block]

    def _is_elif(self, block: BlockId, index: int) -> bool:
        """Whether this arm is a further test that needs no indentation."""
        target = self._flow.successors[block][index]
        return index == 1 and self._is_inline(block, target) and target in self._bare and target not in self._flow.loops

    def _go(self, block: BlockId, index: int, target: BlockId) -> Call[Part]:
        """The code of an edge."""
        if not self._is_inline(block, target):
            return [Goto(block, index, target)], Exits({target: 0})
        tree, exits = yield self.emit(target)
        enter: Tree = [] if block == ROOT else [Enter(block, index)]
        return [*enter, *tree], exits

    def _follow(self, part: Part, labels: list[BlockId]) -> Call[Part]:
        """The code with these merges after it, each in reach of all that jumps there."""
        tree, exits = part
        early: set[BlockId] = set()  # labels with jumps that pass the code of an earlier one
        for label in labels:
            depth = exits.depth.pop(label, 0)
            if (label in early or depth > MAX_TAIL_DEPTH) and (not exits.depth or depth > MAX_NESTING):
                tree = [Loop(None, tree)]
            early |= set(exits.depth)
            inner: Part = yield self.emit(label)
            tree = [*tree, Mark(label, inner[0])]
            exits.add(inner[1])
        return tree, exits
