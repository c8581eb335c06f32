"""A program's subgraphs to files: exported to ONNX, built by an engine, and checked against torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from dycl.diagnostics import UNKNOWN, TargetError, UsageError
from dycl.ir.copies import copied_text
from dycl.ir.environment import Environment
from dycl.ir.program import Program
from dycl.targets.base import Compiled, Options
from dycl.targets.check import check
from dycl.targets.cuts import PortPlace, find_fetched, find_handed_on, find_private
from dycl.targets.module import SubgraphModule
from dycl.targets.onnx.archives import pack_files
from dycl.targets.onnx.binding import BoundProgram, bind_program
from dycl.targets.onnx.choice import PLAN, Alternative, Choice, pick, write_plan
from dycl.targets.onnx.engine import Engine, Tuner
from dycl.targets.onnx.exports import Exports
from dycl.targets.onnx.maker import Finished, Maker
from dycl.targets.onnx.opset import check_opset
from dycl.targets.onnx.quantize import SCHEMES, quantize
from dycl.targets.ports import host_weights, output_ports
from dycl.targets.weights import FILE_NAME

OPTIMIZATIONS = ("basic", "extended", "all")  # of a graph, by ONNX Runtime, when it is opened


def compile_program(
    program: Program, environment: Environment, directory: Path, options: Options, choice: Choice
) -> Compiled:
    """Write graphs and weights.bin under the directory; every subgraph is run and compared with torch.

    Exports of earlier compiles are used. If one turns out to be wrong, something of torch was replaced that no version
    tells of: then all are made anew.
    """
    if options.quantize and options.quantize not in SCHEMES:
        known = ", ".join(SCHEMES)
        raise UsageError("DY505", UNKNOWN, f"--quantize: no scheme {options.quantize!r}", hint=f"known: {known}")
    _check_for_device(options)
    _check_optimization(options, choice)
    check_opset(options.opset)
    options = replace(options, dimensions=program.dimensions)
    exports = Exports(options.cache, opset=options.opset)
    try:
        return _compile(program, environment, directory, options, exports, choice)
    except TargetError:
        if not exports.reused:
            raise
    exports = Exports(options.cache, opset=options.opset, is_anew=True)
    return _compile(program, environment, directory, options, exports, choice)


def _compile(
    program: Program,
    environment: Environment,
    directory: Path,
    options: Options,
    exports: Exports,
    choice: Choice,
) -> Compiled:
    bound = bind_program(program, environment, exports, options.jobs)
    directory.mkdir(parents=True, exist_ok=True)
    bound.weights.write(directory / FILE_NAME)
    maker = Maker(environment, bound, directory, options)
    finished: Alternative = [choice.choose(maker, item) for item in bound.subgraphs]
    products = 0
    if options.quantize:  # what was just built is right; from here on it is meant to differ
        quantized = quantize(bound, host_weights(program))
        bound, products = quantized.program, sum(quantized.products.values())
        options = replace(options, is_exact=False)
        bound.weights.write(directory / FILE_NAME)
        maker, choice = Maker(environment, bound, directory, options), choice.anew()
        finished = [choice.choose(maker, item) for item in bound.subgraphs]
    writer = _Writer(program, bound, maker, choice.engines, exports, products)
    finished = _find_fastest(writer, choice.vary(maker, bound, finished), directory, options)
    finished = _tuned(program, bound, finished, environment, directory, options) if options.tune else finished
    return writer.write(finished, directory)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the subgraphs of a program, however they are built, where their weights lie already."""

    program: Program
    bound: BoundProgram
    maker: Maker
    engines: Sequence[Engine]
    exports: Exports
    products: int

    def write(self, finished: Alternative, directory: Path) -> Compiled:
        """All files that these need, and what the manifest says of them."""
        used = [each for each in self.engines if any(item.engine is each for item in finished)] or [self.engines[0]]
        files = {name: data for item in finished for name, data in item.built.files.items()}
        for engine in used:
            shared = self.maker.share(engine, finished)
            files |= {**shared.files, **engine.runtime_files(self.program)}
            finished = [_told(item, shared.settings) if item.engine is engine else item for item in finished]
        if any(item.compiled.microseconds for item in finished):
            files[PLAN] = write_plan(finished)
        files = pack_files(files)
        for name, data in files.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_bytes(data)
        if self.maker.options.device != "cpu":
            finished = _with_ports(finished, "host", find_fetched(self.program))
        elif all(engine.hands_on for engine in used):
            finished = _with_ports(finished, "handed_on", _find_handed_on(self.program, self.bound))
            finished = _with_ports(finished, "private", find_private(self.program))
        if len(self.engines) > 1:
            finished = [replace(item, compiled=replace(item.compiled, engine=item.engine.name)) for item in finished]
        return Compiled(
            files=(FILE_NAME, *files),
            runtime=runtime_modules(used),
            requirements=tuple(dict.fromkeys(item for engine in used for item in engine.requirements)),
            subgraphs=tuple(item.compiled for item in finished),
            weights=self.bound.weights.entries,
            structures_exported=self.bound.exported,
            structures_reused=self.exports.reused,
            weight_bytes=self.bound.weights.size,
            quantized_products=self.products,
        )


def _told(item: Finished, names: Mapping[str, object]) -> Finished:
    """A subgraph under the names that those files have which it shares with others."""
    settings = item.compiled.settings
    named = {key: value for key, value in names.items() if key in settings}
    return replace(item, compiled=replace(item.compiled, settings={**settings, **named})) if named else item


def _find_fastest(
    writer: _Writer, alternatives: Sequence[Alternative], directory: Path, options: Options
) -> Alternative:
    """What takes least time as a whole artifact; the first where nobody can say."""
    if options.time_calls is None or not alternatives[1:]:
        return alternatives[0]
    with ExitStack() as stack:
        written = []
        for alternative in alternatives:
            place = Path(stack.enter_context(TemporaryDirectory(dir=directory, prefix="alternative-")))
            _link(directory / FILE_NAME, place / FILE_NAME)
            written.append((place, writer.write(alternative, place)))
        return pick(alternatives, options.time_calls(written))


def _link(path: Path, place: Path) -> None:
    """The same file in another place, or a copy where the file system has no links."""
    try:
        os.link(path, place)
    except OSError:
        shutil.copyfile(path, place)


def _check_for_device(options: Options) -> None:
    """Refuse what is made for the processor alone, and for a GPU alone."""
    if options.arch and options.device == "cpu":
        raise UsageError("DY505", UNKNOWN, "--arch names a GPU", hint="compile with --device cuda")
    for option, is_given in (("--tune", options.tune), ("--quantize", options.quantize)):
        if options.device != "cpu" and is_given:
            message = f"{option} is for the processor: there is nothing of the kind for {options.device}"
            raise UsageError("DY505", UNKNOWN, message, hint=f"compile without {option}, or for the processor")


def _check_optimization(options: Options, choice: Choice) -> None:
    """Refuse a level that ONNX Runtime does not have, or that nothing would heed."""
    level = options.ort_optimization
    if level == "all":
        return
    if level not in OPTIMIZATIONS:
        known = ", ".join(OPTIMIZATIONS)
        raise UsageError("DY505", UNKNOWN, f"--ort-optimization: no level {level!r}", hint=f"known: {known}")
    if options.tune and any(isinstance(engine, Tuner) for engine in choice.engines):
        message = "--tune optimises graphs for this machine as far as ONNX Runtime can"
        raise UsageError("DY505", UNKNOWN, message, hint="leave out --ort-optimization")
    if all(engine.name != "onnxruntime" for engine in choice.engines):
        raise UsageError("DY505", UNKNOWN, "--ort-optimization: ONNX Runtime has no part in this target")


def _find_handed_on(program: Program, bound: BoundProgram) -> Iterator[PortPlace]:
    """The results whose size the runtime learns in the call, and that only subgraphs see: nobody needs an array."""
    results = {item.subgraph.name: output_ports(item.subgraph) for item in bound.subgraphs}
    for port in find_handed_on(program):
        if any(isinstance(size, str) for size in results[port.subgraph][port.index].shape):
            yield port


def _with_ports(finished: Alternative, setting: str, ports: Iterable[PortPlace]) -> list[Finished]:
    """The subgraphs, each told the numbers of those of its results that are among the ports."""
    found: dict[str, list[int]] = {}
    for port in sorted(ports):
        if port.is_output:
            found.setdefault(port.subgraph, []).append(port.index)
    result = []
    for item in finished:
        numbers = found.get(item.compiled.name)
        settings = {**item.compiled.settings, **({setting: numbers} if numbers else {})}
        result.append(replace(item, compiled=replace(item.compiled, settings=settings)))
    return result


def _tuned(
    program: Program,
    bound: BoundProgram,
    finished: Alternative,
    environment: Environment,
    directory: Path,
    options: Options,
) -> Alternative:
    """The subgraphs with what one engine makes of them for this machine, checked like the rest."""
    if not finished:
        return []
    engine, *others = {item.engine.name: item.engine for item in finished}.values()
    if engine.tunes_as_it_builds or any(other.tunes_as_it_builds for other in others):
        return list(finished)
    if others or not isinstance(engine, Tuner):
        names = " and ".join(sorted({item.engine.title for item in finished}))
        raise UsageError("DY504", UNKNOWN, f"{names} cannot be tuned to a machine", hint="compile without --tune")
    tuned = engine.tune(program, bound, directory)
    result = []
    for item, source in zip(finished, bound.subgraphs, strict=True):
        better = tuned[source.subgraph.name]
        module = SubgraphModule(source.subgraph, environment)
        check(source.subgraph, module, better.run, options, f"{engine.title}, tuned,")
        built = replace(item.built, files={**item.built.files, **better.files})
        settings = {**item.compiled.settings, **better.settings}
        result.append(Finished(engine, built, replace(item.compiled, settings=settings)))
    return result


def runtime_modules(engines: Sequence[Engine]) -> Mapping[str, str]:
    """The runtime of an artifact: an engine's own, or one that hands each subgraph to that of its engine."""
    if len(engines) == 1:
        return {"runtime.py": engines[0].runtime_source()}
    mixed = copied_text("dycl.targets.onnx.mixed_runtime")
    return {"runtime.py": mixed} | {f"runtime_{engine.name}.py": engine.runtime_source() for engine in engines}
