"""Names of subgraphs that say what is inside: `03_block2_gate3`, from the module paths and functions of the source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dycl.ir.nodes import CallFunction, CallModule, TensorOp
from dycl.ir.program import Program

_SHOWN = 3  # operations that a sentence names
_LONGEST = 32  # characters before the number
_GENERIC = {"forward", "__call__", "<lambda>", "<listcomp>", "<genexpr>", "<module>", ""}


class SubgraphNames:
    """Names the subgraphs of one program, in order."""

    def __init__(self, program: Program) -> None:
        ops = (op for block in program.blocks for op in block.ops)
        paths = [
            op.target.path.split(".") for op in ops if isinstance(op, TensorOp) and isinstance(op.target, CallModule)
        ]
        self._prefix = _shared_prefix(paths)

    def name(self, index: int, ops: Iterable[TensorOp]) -> str:
        """The name of the index-th subgraph."""
        return number_name(index, self._describe(tuple(ops)))

    def _describe(self, ops: tuple[TensorOp, ...]) -> str:
        modules = [self._module_label(op.target.path) for op in ops if isinstance(op.target, CallModule)]
        functions = [label for op in ops if (label := _clean(_source_function(op)))]
        calls = [_clean(op.target.name.rsplit(".", 1)[-1]) for op in ops if isinstance(op.target, CallFunction)]
        labels = list(dict.fromkeys(modules or functions or calls))
        text = "_".join(labels)
        if len(labels) > 3 or len(text) > _LONGEST:
            text = f"{labels[0]}_{labels[-1]}"
        return text[:_LONGEST].strip("_") or "tensor"

    def _module_label(self, path: str) -> str:
        """The part of a path that a reader knows: `backbone.blocks.2.conv1` is `block2`."""
        parts = path.split(".")
        parts = parts[self._prefix :] or parts
        numbered = next((index for index, part in enumerate(parts) if part.isdecimal() and index), None)
        if numbered is None:
            return _clean(parts[0])
        owner = _singular(_clean(parts[numbered - 1]))
        return f"{owner}_{parts[numbered]}" if owner[-1:].isdecimal() else owner + parts[numbered]


def name_operations(ops: Sequence[TensorOp]) -> str:
    """Operations in a sentence: the first few by name."""
    names = list(dict.fromkeys(_bare_name(op) for op in ops))
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _bare_name(op: TensorOp) -> str:
    return op.target.path if isinstance(op.target, CallModule) else op.target.name.rpartition(".")[2].strip("_")


def number_name(index: int, text: str) -> str:
    """The name of the index-th subgraph with this description."""
    return f"{index:02d}_{text}"


def renumber_name(index: int, name: str) -> str:
    """A subgraph's name with another number."""
    return number_name(index, re.sub(r"^\d+_", "", name))


def _shared_prefix(paths: Sequence[list[str]]) -> int:
    """How many leading parts all paths share, their own last part and what a number belongs to not counted."""
    if len(paths) < 2:
        return 0
    length = 0
    shortest = min(len(path) for path in paths) - 1
    while length < shortest and len({path[length] for path in paths}) == 1:
        if any(path[length + 1].isdecimal() for path in paths):
            break
        length += 1
    return length


def _source_function(op: TensorOp) -> str:
    name = op.loc.function.rsplit(".", 1)[-1]
    return "" if name in _GENERIC else name


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word


def _clean(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
