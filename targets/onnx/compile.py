"""A program's subgraphs to files: exported to ONNX, built by an engine, and checked against torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from dycl.diagnostics import UNKNOWN, TargetError, UsageError
from dycl.ir.environment import Environment
from dycl.ir.nodes import Program
from dycl.targets.base import Compiled, CompiledSubgraph, Options
from dycl.targets.check import check
from dycl.targets.module import SubgraphModule
from dycl.targets.onnx.binding import BoundProgram, BoundSubgraph, bind_program
from dycl.targets.onnx.engine import Built, Engine, Tuner
from dycl.targets.onnx.exports import Exports
from dycl.targets.ports import input_ports, output_ports
from dycl.targets.weights import FILE_NAME, WeightFile


@dataclass(frozen=True, slots=True)
class Finished:
    """A subgraph that was built and agrees with torch."""

    engine: Engine
    built: Built
    compiled: CompiledSubgraph


def compile_program(
    program: Program, environment: Environment, directory: Path, options: Options, engines: Sequence[Engine]
) -> Compiled:
    """Write subgraphs/* and weights.bin under the directory; every subgraph is run and compared with torch.

    The first engine that takes a subgraph has it. Exports of earlier compiles are used. If one turns out to be wrong,
    something of torch was replaced that no version tells of: then all are made anew.
    """
    options = replace(options, dimensions=program.dimensions)
    exports = Exports(options.cache)
    try:
        return _compile(program, environment, directory, options, exports, engines)
    except TargetError:
        if not exports.reused:
            raise
    return _compile(program, environment, directory, options, Exports(options.cache, is_anew=True), engines)


def _compile(
    program: Program,
    environment: Environment,
    directory: Path,
    options: Options,
    exports: Exports,
    engines: Sequence[Engine],
) -> Compiled:
    bound = bind_program(program, environment, exports)
    (directory / "subgraphs").mkdir(parents=True, exist_ok=True)
    bound.weights.write(directory / FILE_NAME)
    maker = Maker(environment, bound.weights, directory, options)
    finished = [_first(maker, item, engines, strict=options.strict) for item in bound.subgraphs]
    finished = _tuned(program, bound, finished, environment, directory, options) if options.tune else finished
    used = [engine for engine in engines if any(item.engine is engine for item in finished)] or [engines[0]]
    files = {name: data for item in finished for name, data in item.built.files.items()}
    files |= {name: data for engine in used for name, data in engine.runtime_files().items()}
    for name, data in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(data)
    return _describe(bound, finished, tuple(files), used, exports)


def _tuned(
    program: Program,
    bound: BoundProgram,
    finished: Sequence[Finished],
    environment: Environment,
    directory: Path,
    options: Options,
) -> list[Finished]:
    """The subgraphs with what one engine makes of them for this machine, checked like the rest."""
    engine, *others = {item.engine.name: item.engine for item in finished}.values()
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


class Maker:
    """Builds the subgraphs of one program with whatever engine is asked for, and checks them."""

    def __init__(self, environment: Environment, weights: WeightFile, directory: Path, options: Options) -> None:
        self._environment = environment
        self._weights = weights
        self._directory = directory
        self._options = options
        self._builders: dict[str, Callable[[BoundSubgraph], Built]] = {}

    def make(self, bound: BoundSubgraph, engine: Engine) -> Finished:
        """The subgraph as this engine builds it; a `TargetError` if it cannot, or if the results are not torch's."""
        if engine.name not in self._builders:
            self._builders[engine.name] = engine.builder(self._weights, self._directory, self._options)
        subgraph = bound.subgraph
        built = self._builders[engine.name](bound)
        module = SubgraphModule(subgraph, self._environment)
        deviation = check(subgraph, module, built.run, self._options, engine.title)
        compiled = CompiledSubgraph(
            name=subgraph.name,
            file=built.file,
            structure=subgraph.structure,
            inputs=input_ports(subgraph),
            outputs=output_ports(subgraph),
            weights=tuple(dict.fromkeys(weight for _, weight in bound.initializers)),
            samples=deviation.samples,
            max_abs_error=deviation.max_abs,
            max_rel_error=deviation.max_rel,
            settings=built.settings,
        )
        return Finished(engine, built, compiled)


def _first(maker: Maker, bound: BoundSubgraph, engines: Sequence[Engine], *, strict: bool) -> Finished:
    """The subgraph by the first engine that takes it; why those before it do not, is told. `strict`: by the first."""
    reasons: list[str] = []
    for engine in engines[:-1]:
        try:
            return _explained(maker.make(bound, engine), reasons)
        except TargetError as error:
            reason = f"not {engine.title}: {_without_name(error, bound)}"
            if strict:
                raise TargetError("DY405", error.loc, f"subgraph {bound.subgraph.name}: {reason}") from error
            reasons.append(reason)
    return _explained(maker.make(bound, engines[-1]), reasons)


def _explained(finished: Finished, reasons: Sequence[str]) -> Finished:
    return replace(finished, compiled=replace(finished.compiled, reason="; ".join(reasons))) if reasons else finished


def _without_name(error: TargetError, bound: BoundSubgraph) -> str:
    return error.message.removeprefix(f"subgraph {bound.subgraph.name}").lstrip(":, ")


def _describe(
    bound: BoundProgram, finished: Sequence[Finished], files: tuple[str, ...], used: Sequence[Engine], exports: Exports
) -> Compiled:
    subgraphs = [item.compiled for item in finished]
    if len(used) > 1:
        subgraphs = [replace(item.compiled, engine=item.engine.name) for item in finished]
    return Compiled(
        files=(FILE_NAME, *files),
        runtime=runtime_modules(used),
        requirements=tuple(dict.fromkeys(item for engine in used for item in engine.requirements)),
        subgraphs=tuple(subgraphs),
        weights=bound.weights.entries,
        structures_exported=bound.exported,
        structures_reused=exports.reused,
        weight_bytes=bound.weights.size,
    )


def runtime_modules(engines: Sequence[Engine]) -> Mapping[str, str]:
    """The runtime of an artifact: an engine's own, or one that hands each subgraph to that of its engine."""
    if len(engines) == 1:
        return {"runtime.py": engines[0].runtime_source()}
    mixed = resources.files("dycl.targets.onnx").joinpath("mixed_runtime.py").read_text(encoding="utf-8")
    return {"runtime.py": mixed} | {f"runtime_{engine.name}.py": engine.runtime_source() for engine in engines}
