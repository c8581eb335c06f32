"""What TVM makes of a program: bytecode for each structure, and object files of the kernels that these share.

Both are kept in the compile cache, bytecode by the model of the structure and object files by their kernels. So after a
change of one layer one structure is lowered and its kernels are compiled; to link takes hundredths of a second.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from dycl.targets.base import Capabilities, Options, refuse
from dycl.targets.processes import try_in_processes
from dycl.targets.tvm.failures import explain_failure
from dycl.targets.tvm.kept import KeptWork
from dycl.targets.tvm.kernels import Improve, Kernel, build_object, group_kernels, link_objects, schedule_kernel
from dycl.targets.tvm.processor import Processor
from dycl.targets.tvm.session import quiet

if TYPE_CHECKING:
    from dycl.targets.onnx.binding import BoundProgram, BoundSubgraph
    from dycl.targets.tvm.lower import Lowered
    from dycl.targets.tvm.model import Prepared
    from dycl.targets.tvm.tuning import Tuner

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Structure:
    """The bytecode of a structure, and the symbols of its kernels.

    `preparation`: what is made of its weights before, if not by kernels. `guarded`: its last result says whether all
    indices were within.
    """

    code: bytes
    kernels: tuple[str, ...]
    preparation: str | None
    guarded: bool


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why TVM makes nothing of something."""

    reason: str


class Structures:
    """All that TVM compiles for a program; it is made when the first structure is asked for."""

    def __init__(
        self, program: BoundProgram, options: Options, capabilities: Capabilities, processor: Processor
    ) -> None:
        self._program = program
        self._capabilities = capabilities
        self._processor = processor
        self._options = options
        self._jobs = 1 if options.tune else options.jobs  # what is measured has the machine to itself
        self._kept = KeptWork(options.cache, processor, options.tune)
        self._tuner: Tuner | None = None
        self._objects: dict[str, bytes] = {}  # by symbol; several kernels lie in one
        self._made: dict[int, Structure | _Refused] = {}  # by the id of the model, which the program keeps

    def find(self, bound: BoundSubgraph) -> Structure:
        """The structure of a subgraph; a `TargetError` if TVM does not take it."""
        self._make_all()
        made = self._made[id(bound.model)]
        if isinstance(made, _Refused):
            raise refuse(bound.subgraph, made.reason)
        return made

    def all(self) -> Sequence[Structure]:
        """The structures that TVM takes, in the order of the program."""
        self._make_all()
        return [made for made in self._made.values() if isinstance(made, Structure)]

    def link(self, structures: Iterable[Structure]) -> bytes | None:
        """The library of the objects that these structures need, each once; None if they need none."""
        objects = dict.fromkeys(self._objects[symbol] for structure in structures for symbol in structure.kernels)
        return link_objects(objects) if objects else None

    def _make_all(self) -> None:
        if self._made:
            return
        first = {id(bound.model): bound for bound in self._program.subgraphs}
        prepared = {model: _attempt(self._prepare, bound) for model, bound in first.items()}
        taken = {model: each for model, each in prepared.items() if not isinstance(each, _Refused)}
        lowered = self._lower_all(taken)
        self._lower_again(taken, lowered)
        refused = self._build_all(_groups(lowered))
        for model, each in prepared.items():
            self._made[model] = each if isinstance(each, _Refused) else _finish(each, lowered[model], refused)

    def _prepare(self, bound: BoundSubgraph) -> Prepared | _Refused:
        from dycl.targets.onnx.capability import find_refusal
        from dycl.targets.tvm.model import find_hazard, prepare_model

        reason = find_refusal(self._capabilities, bound) or find_hazard(bound.model)
        if reason is not None:
            return _Refused(reason)
        return prepare_model(bound.model, [name for name, _ in bound.initializers])

    def _lower_all(self, prepared: Mapping[int, Prepared]) -> dict[int, Lowered | _Refused]:
        """The bytecode of all structures, in the order of the program."""
        found = {model: self._kept.find_code(each) for model, each in prepared.items()}
        made = iter(self._try_each(self._lower, [prepared[model] for model, each in found.items() if each is None]))
        return {model: next(made) if each is None else each for model, each in found.items()}

    def _lower_again(self, prepared: Mapping[int, Prepared], lowered: dict[int, Lowered | _Refused]) -> None:
        """Get the texts of kernels to compile that the cache has lost, or never had together, from their structures."""
        missing = [kernel for group in _groups(lowered) if self._kept.find_object(group) is None for kernel in group]
        lost = {kernel.symbol for kernel in missing if not kernel.text}
        again = [
            model
            for model, each in lowered.items()
            if not isinstance(each, _Refused) and not lost.isdisjoint(each.symbols)
        ]
        lowered.update(zip(again, self._try_each(self._lower, [prepared[model] for model in again]), strict=True))

    def _lower(self, prepared: Prepared) -> Lowered:
        from dycl.targets.tvm.lower import lower_model

        lowered = lower_model(prepared, self._processor, exact=self._options.tune > 0)
        self._kept.keep_code(prepared, lowered)
        return lowered

    def _build_all(self, groups: Sequence[tuple[Kernel, ...]]) -> dict[str, _Refused]:
        """Compile the kernels that are not there yet; why some cannot be."""
        refused: dict[str, _Refused] = {}
        missing = []
        for group in groups:
            content = self._kept.find_object(group)
            if content is None:
                missing.append(group)
            else:
                self._objects.update({kernel.symbol: content for kernel in group})
        for group, made in zip(missing, self._try_each(self._build, missing), strict=True):
            if not isinstance(made, _Refused):
                self._objects.update({kernel.symbol: made for kernel in group})
            elif len(group) == 1:
                refused[group[0].symbol] = _Refused(f"its kernel {group[0].name}: {made.reason}")
            else:  # one of them cannot be compiled
                refused |= self._build_all([(kernel,) for kernel in group])
        return refused

    def _build(self, group: tuple[Kernel, ...]) -> bytes:
        improve = self._improve()
        functions = [schedule_kernel(kernel, self._processor, improve) for kernel in group]
        content = build_object(functions, self._processor)
        self._kept.keep_object(group, content)
        return content

    def _improve(self) -> Improve | None:
        options = self._options
        if options.tune and self._tuner is None:
            from dycl.targets.tvm.tuning import Tuner

            self._tuner = Tuner(options.tune, self._processor, options.cache, options.report)
        return None if self._tuner is None else self._tuner.improve

    def _try_each(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result | _Refused]:
        done = try_in_processes(function, items, self._jobs)
        return [
            _attempt(function, item) if each is None else each.result for item, each in zip(items, done, strict=True)
        ]


def _attempt(function: Callable[[Item], Result], item: Item) -> Result | _Refused:
    try:
        return function(item)
    except Exception as error:  # TVM raises whatever its passes raise
        reason = explain_failure(error)
        with quiet():  # what the frames of the failure hold complains when it is destroyed
            traceback.clear_frames(error.__traceback__)
        return _Refused(f"TVM does not compile it: {reason}")


def _groups(lowered: Mapping[int, Lowered | _Refused]) -> list[tuple[Kernel, ...]]:
    return group_kernels(each.kernels for each in lowered.values() if not isinstance(each, _Refused))


def _finish(prepared: Prepared, lowered: Lowered | _Refused, refused: Mapping[str, _Refused]) -> Structure | _Refused:
    if isinstance(lowered, _Refused):
        return lowered
    wrong = [refused[symbol] for symbol in lowered.symbols if symbol in refused]
    return wrong[0] if wrong else Structure(lowered.code, lowered.symbols, lowered.preparation, prepared.guarded)
