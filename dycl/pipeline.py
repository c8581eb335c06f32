"""The whole compiler on one page: source, program, passes, target, host, artifact, verification.

The only module that imports all parts.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from dycl.accuracy import AccuracyReport, measure_accuracy
from dycl.artifact import UNHASHED, LoadedArtifact, Staging, check_output, load_here, stage_artifact
from dycl.benchmark import find_steady, take_turns
from dycl.cache import open_cache
from dycl.calls import USUAL_CALLS, MethodCalls, find_methods, sample_to_verify
from dycl.collecting import seldom_collected
from dycl.describe import describe_program
from dycl.diagnostics import UNKNOWN, InternalError, UsageError
from dycl.emit import check_emit, write_emitted
from dycl.explain import find_branches
from dycl.hostgen.host import class_name, write_host
from dycl.hostgen.parts import find_parts
from dycl.hosting import HostModel
from dycl.ir.environment import Call, Environment
from dycl.ir.nodes import Branch
from dycl.ir.notes import Note
from dycl.ir.printer import print_ir
from dycl.ir.program import Program
from dycl.knobs import WITHOUT, Knobs, read_knobs
from dycl.package import find_package_name, write_init, write_pyproject
from dycl.passes.order import DEVICE_PASSES, OPTIONAL_PASSES, PASSES, Pass, explain_passes, run_passes
from dycl.passes.specialize.inputs import MethodExample
from dycl.passes.specialize.specializer import specialize
from dycl.sampling import Sample
from dycl.settings import Sampler, Settings
from dycl.stages import Observer, Silence, Stages
from dycl.targets.base import Compiled, CompiledSubgraph, Options, Target, check_device, find_target
from dycl.trials import Decide, Subject, find_timed, find_tolerance
from dycl.verification import VerificationReport, verify_model

Report = TypeVar("Report")

_PROGRAM_STAGES = ("specialize", *(step.name for step in PASSES))
_DEVICE_STAGES = tuple(step.name for step in DEVICE_PASSES)  # for another device than the processor
STAGES = (*_PROGRAM_STAGES, "host", "target", "package", "verify", "publish")
STOPS = (*_PROGRAM_STAGES, *_DEVICE_STAGES, "host")  # the stages that have a text to show
_TURN_SECONDS, _MOST_TURNS = 3.0, 1200  # in which artifacts are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a compile found before it built anything: branches of the source, and the size of the program."""

    name: str
    branches: int
    sites: int
    blocks: int
    subgraphs: int
    structures: int
    state: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileReport:
    """What a compile did."""

    program: CheckReport
    target: str
    device: str
    device_missing: str  # why it was verified on the processor, if it is for another device
    size: int  # bytes of the artifact's files
    weight_bytes: int
    structures_exported: int
    structures_reused: int  # of these: taken from the cache
    subgraphs: tuple[CompiledSubgraph, ...]
    seconds: Mapping[str, float]
    verification: VerificationReport | None
    quantized_products: int = 0
    accuracy: AccuracyReport | None = None  # instead of a verification, where numbers differ by intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A program through all passes, with what it was made from."""

    program: Program
    specialized: Program  # as it was before the passes: the one that reads like the source
    environment: Environment
    report: CheckReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A finished artifact, loaded; `scratch` is the temporary directory that it lies in, if the user named none."""

    checked: Checked
    artifact: LoadedArtifact
    report: CompileReport
    scratch: Path | None = None


def count_processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_model(
    model: nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    settings: Settings,
    observer: Observer | None = None,
    sampler: Sampler | None = None,
) -> Checked:
    """Everything but the target: the program after its passes, or the errors that say why there is none.

    Where inputs are objects, the sampler shows what else may be in them.
    """
    methods = find_methods(model, args, kwargs, settings, sampler)
    return _check(methods, settings, Stages(observer or Silence(), read_knobs()))


def compile_model(
    model: nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    settings: Settings,
    *,
    output: Path | None = None,
    sampler: Sampler | None = None,
    observer: Observer | None = None,
) -> Built:
    """The artifact at `output`, complete and verified; whatever was there before stays until then."""
    stages = Stages(observer or Silence(), read_knobs())
    target = find_target(settings.target)
    check_device(target, settings.device)
    check_emit(settings.emit)
    if output is not None:
        check_output(output)
    methods = find_methods(model, args, kwargs, settings, sampler)
    checked = _check(methods, settings, stages)
    scratch = None if output is not None else Path(tempfile.mkdtemp(prefix="dycl-"))
    place = output if output is not None else Path(str(scratch), find_package_name(checked.program.name))
    with stage_artifact(place) as staging:
        usual = partial(methods[0].usual, settings.profile or USUAL_CALLS)
        compiled = _build(checked, target, settings, staging, stages, usual)
        verification, accuracy, missing = None, None, ""
        if settings.verify:
            with stages.stage("verify"):
                samples = sample_to_verify(methods, settings.samples)
                loaded, missing = load_here(staging.directory, threads=1)
                if settings.quantize:
                    accuracy = _compare(measure_accuracy, checked, model, loaded, samples)
                else:
                    verification = _compare(verify_model, checked, model, loaded, samples)
        with stages.stage("publish"):
            staging.publish()
    report = CompileReport(
        program=checked.report,
        target=settings.target,
        device=settings.device,
        device_missing=missing,
        size=sum(path.stat().st_size for path in place.rglob("*") if path.is_file() and UNHASHED not in path.parts),
        weight_bytes=compiled.weight_bytes,
        structures_exported=compiled.structures_exported,
        structures_reused=compiled.structures_reused,
        subgraphs=compiled.subgraphs,
        seconds=dict(stages.seconds),
        verification=verification,
        quantized_products=compiled.quantized_products,
        accuracy=accuracy,
    )
    return Built(checked=checked, artifact=load_here(place)[0], report=report, scratch=scratch)


def explain_decisions(checked: Checked) -> tuple[Note, ...]:
    """What the passes decided about the program, with their reasons."""
    return explain_passes(checked.specialized, checked.environment, PASSES)


def show_stage(
    model: nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    settings: Settings,
    stop_after: str,
    sampler: Sampler | None = None,
) -> str:
    """The text of one stage; nothing after it is run."""
    if stop_after not in STOPS:
        raise UsageError("DY505", UNKNOWN, f"there is no stage {stop_after!r}", hint=f"stages: {', '.join(STOPS)}")
    last = None if stop_after == "host" else stop_after
    methods = find_methods(model, args, kwargs, settings, sampler)
    checked = _check(methods, settings, Stages(Silence(), read_knobs()), last)
    return _write_host(checked.program, settings.device) if last is None else print_ir(checked.program)


# ---------------------------------------------------------------- program


def _passes(settings: Settings, knobs: Knobs, last: str | None) -> list[Pass]:
    """The passes to run, up to the one before which to stop."""
    unknown = sorted(knobs.without - OPTIONAL_PASSES)
    if unknown:
        message = f"{WITHOUT.name}: there is no pass {unknown[0]!r} that can be left out"
        raise UsageError("DY505", UNKNOWN, message, hint=f"passes: {', '.join(sorted(OPTIONAL_PASSES))}")
    steps = PASSES if settings.device == "cpu" else (*PASSES, *DEVICE_PASSES)
    steps = steps if last is None else steps[: STOPS.index(last)]
    return [step for step in steps if step.name not in knobs.without]


@seldom_collected()
def _check(methods: Sequence[MethodCalls], settings: Settings, stages: Stages, last: str | None = None) -> Checked:
    first, *others = methods
    with stages.stage("specialize"):
        made = specialize(
            first.model,
            first.args,
            dict(first.kwargs),
            method=first.name,
            tunable=settings.tunable,
            fuzz=settings.fuzz,
            rng=settings.rng,
            dynamic=first.dynamic,
            examples=first.more_examples(),
            others=[
                MethodExample(each.name, each.args, dict(each.kwargs), each.dynamic, each.more_examples())
                for each in others
            ],
        )
    stages.dump("specialize", partial(print_ir, made.program))
    environment = replace(made.environment, calls=first.usual(settings.profile))
    steps = _passes(settings, stages.knobs, last)
    program = run_passes(
        made.program, environment, steps, lambda name, result: stages.passed(name, partial(print_ir, result))
    )
    report = CheckReport(
        name=program.name,
        branches=len(find_branches(made.program)),
        sites=sum(isinstance(block.end, Branch) for block in program.blocks),
        blocks=len(program.blocks),
        subgraphs=len(program.subgraphs),
        structures=len({subgraph.structure for subgraph in program.subgraphs}),
        state=len({slot.name for entry in program.entries for slot in entry.slots}),
        seconds=dict(stages.seconds),
    )
    return Checked(program=program, specialized=made.program, environment=environment, report=report)


# ---------------------------------------------------------------- artifact


@seldom_collected()
def _build(
    checked: Checked,
    target: Target,
    settings: Settings,
    staging: Staging,
    stages: Stages,
    find_usual: Callable[[], Sequence[Call]],
) -> Compiled:
    program, environment = checked.program, checked.environment
    with stages.stage("host"):
        package = _Package(checked, settings, _write_host(program, settings.device))
    stages.dump("host", lambda: package.host)
    with stages.stage("target"):
        cache = open_cache(stages.knobs.cache_dir, stages.knobs.cache_size) if settings.cache else None
        options = Options(
            cache=cache,
            strict=settings.strict,
            tune=settings.tune,
            quantize=settings.quantize,
            plan=settings.plan,
            mcpu=settings.mcpu,
            device=settings.device,
            arch=settings.arch,
            opset=settings.opset,
            ort_optimization=settings.ort_optimization,
            jobs=settings.jobs,
            time_calls=partial(_time_calls, package, find_usual),
            report=stages.observer.detail,
        )
        compiled = target.compile(program, environment, staging.directory, options)
        if cache is not None:
            cache.trim()
    with stages.stage("package"):
        package.write(compiled, staging)
        if settings.emit:
            write_emitted(settings.emit, staging.directory / UNHASHED, program, checked.specialized, environment)
    return compiled


@dataclass(frozen=True, slots=True)
class _Package:
    """All of an artifact that is the same however its subgraphs are built."""

    checked: Checked
    settings: Settings
    host: str

    def write(self, compiled: Compiled, staging: Staging) -> None:
        """Complete what a target has written."""
        program, settings = self.checked.program, self.settings
        version = importlib.metadata.version("dycl")
        host_class, package = class_name(program), find_package_name(program.name)
        staging.write("host.py", self.host)
        for name, text in (*compiled.runtime.items(), *find_parts(self.host).items()):
            staging.write(name, text)
        staging.write("__init__.py", write_init(host_class, version))
        staging.write("pyproject.toml", write_pyproject(package, host_class, version, compiled.requirements))
        manifest = describe_program(
            program,
            package=package,
            class_name=host_class,
            target=settings.target,
            device=settings.device,
            opset=settings.opset,
            requirements=compiled.requirements,
            compiled=compiled.manifest(),
            versions={"dycl": version, **_versions()},
            classes=self.checked.environment.classes,
        )
        staging.seal(manifest)


def _time_calls(
    package: _Package, find_usual: Callable[[], Sequence[Call]], written: Sequence[tuple[Path, Compiled]]
) -> list[float]:
    """The seconds of a usual call with each of these artifacts, which are completed for that.

    Infinity for one that raises where others return, and for all where nothing returns.
    """
    hosts = []
    for directory, compiled in written:
        package.write(compiled, Staging(directory, directory))
        loaded, _ = load_here(directory, threads=1)
        hosts.append(HostModel(loaded, package.checked.environment.classes))
    steady, calls = find_steady(hosts, find_usual())
    count = len(calls)
    seconds = [math.inf for _ in hosts]
    if calls and steady:
        racing = [hosts[number] for number in steady]
        taken = take_turns(racing, calls, seconds=_TURN_SECONDS, least=count, most=_MOST_TURNS)
        for number, times in zip(steady, taken, strict=True):
            seconds[number] = statistics.fmean(statistics.median(times[call::count]) for call in range(count))
    return seconds


def _write_host(program: Program, device: str) -> str:
    hashes = [source.sha256 for source in program.sources]
    joined = hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    version = importlib.metadata.version("dycl")
    text = write_host(program, source_hash=joined, version=version, device=device)
    try:
        ast.parse(text)
    except SyntaxError as error:
        raise InternalError(f"host: the generated module does not parse: line {error.lineno}: {error.text}") from error
    return text


def _versions() -> dict[str, str]:
    return {
        "torch": str(torch.__version__),
        **{name: importlib.metadata.version(name) for name in ("onnx", "onnxruntime")},
    }


# ---------------------------------------------------------------- verification


def _compare(
    compare: Callable[[Subject, Sequence[Sample]], Report],
    checked: Checked,
    model: nn.Module,
    loaded: LoadedArtifact,
    samples: list[Sample],
) -> Report:
    # One thread each: torch's and the target's pools would fight over the cores, call by call in turn.
    host = HostModel(loaded, checked.environment.classes)
    rtol, atol = find_tolerance(checked.program)
    subject = Subject(
        program=checked.program,
        environment=checked.environment,
        model=model,
        make_host=partial(_restart, host),
        rtol=rtol,
        atol=atol,
        timed=find_timed(checked.program),
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return compare(subject, samples)
    finally:
        torch.set_num_threads(threads)


def _restart(host: HostModel, decide: Decide | None) -> HostModel:
    host.reset(decide)
    return host
