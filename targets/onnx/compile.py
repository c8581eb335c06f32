"""A program's subgraphs to files: exported to ONNX, built by an engine, and checked against torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dycl.diagnostics import TargetError
from dycl.ir.environment import Environment
from dycl.ir.nodes import Program
from dycl.targets.base import Compiled, CompiledSubgraph, Options
from dycl.targets.check import check
from dycl.targets.module import SubgraphModule
from dycl.targets.onnx.binding import BoundProgram, BoundSubgraph, bind_program
from dycl.targets.onnx.engine import Built, Engine
from dycl.targets.onnx.exports import Exports
from dycl.targets.ports import input_ports, output_ports
from dycl.targets.weights import FILE_NAME


@dataclass(frozen=True, slots=True)
class Finished:
    """A subgraph that was built and agrees with torch."""

    engine: Engine
    built: Built
    compiled: CompiledSubgraph


def compile_program(
    program: Program, environment: Environment, directory: Path, options: Options, engine: Engine
) -> Compiled:
    """Write subgraphs/* and weights.bin under the directory; every subgraph is run and compared with torch.

    Exports of earlier compiles are used. If one turns out to be wrong, something of torch was replaced that no version
    tells of: then all are made anew.
    """
    options = replace(options, dimensions=program.dimensions)
    exports = Exports(options.cache)
    try:
        return _compile(program, environment, directory, options, exports, engine)
    except TargetError:
        if not exports.reused:
            raise
    return _compile(program, environment, directory, options, Exports(options.cache, is_anew=True), engine)


def _compile(
    program: Program, environment: Environment, directory: Path, options: Options, exports: Exports, engine: Engine
) -> Compiled:
    bound = bind_program(program, environment, exports)
    (directory / "subgraphs").mkdir(parents=True, exist_ok=True)
    bound.weights.write(directory / FILE_NAME)
    build = engine.builder(bound.weights, directory, options)
    finished = [_finish(item, environment, engine, build, options) for item in bound.subgraphs]
    files = {name: data for item in finished for name, data in item.built.files.items()}
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return _describe(bound, finished, tuple(files), engine, exports)


def _describe(
    bound: BoundProgram, finished: list[Finished], files: tuple[str, ...], engine: Engine, exports: Exports
) -> Compiled:
    return Compiled(
        files=(FILE_NAME, *files),
        runtime={"runtime.py": engine.runtime_source()},
        requirements=engine.requirements,
        subgraphs=tuple(item.compiled for item in finished),
        weights=bound.weights.entries,
        structures_exported=bound.exported,
        structures_reused=exports.reused,
        weight_bytes=bound.weights.size,
    )


def _finish(
    bound: BoundSubgraph,
    environment: Environment,
    engine: Engine,
    build: Callable[[BoundSubgraph], Built],
    options: Options,
) -> Finished:
    subgraph = bound.subgraph
    built = build(bound)
    deviation = check(subgraph, SubgraphModule(subgraph, environment), built.run, options, engine.title)
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
