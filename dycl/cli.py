"""The command line: `dycl compile`, `dycl run`, `dycl check`, `dycl explain`, `dycl cache`.

Whatever imports torch is imported inside the commands that need it: `dycl run` works where torch is not installed.
"""

from __future__ import annotations

import importlib.metadata
import json
import traceback
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from dycl.artifact import LoadedArtifact, is_artifact, load_artifact, read_manifest
from dycl.cache import Cache, open_cache
from dycl.cli_options import (
    DeviceOption,
    DynamicArgOption,
    DynamicOption,
    InputOption,
    InputsOption,
    MethodOption,
    ModelArgument,
    ProfileOption,
    Rng,
    RngOption,
    TunableOption,
    VerboseOption,
    WeightsOption,
)
from dycl.cli_output import (
    EXIT_INTERNAL,
    EXIT_UNSUPPORTED,
    describe_error,
    exit_code,
    find_errors,
    print_branches,
    print_compile_report,
    print_engines,
    print_errors,
    print_host_report,
    print_internal,
    print_notes,
    print_outputs,
    print_trace,
    progress,
    reporting,
    stderr,
    stdout,
)
from dycl.diagnostics import UNKNOWN, UsageError
from dycl.hosting import HostModel
from dycl.inputs import fit_inputs, flatten_names, parse_inputs, read_inputs, write_outputs
from dycl.knobs import read_knobs
from dycl.manifest import ParamEntry

if TYPE_CHECKING:
    from dycl.loading import LoadedModel
    from dycl.settings import Settings

app = typer.Typer(
    help="Compile dynamic neural networks: unmodified PyTorch source in, subgraphs and a torch-free host out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dycl {importlib.metadata.version('dycl')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Compile dynamic neural networks: unmodified PyTorch source in, subgraphs and a torch-free host out."""


def _read_values(inputs: Path | None, given: list[str] | None) -> dict[str, object]:
    """The inputs by name: from the file, then the options."""
    values: dict[str, object] = read_inputs(inputs) if inputs is not None else {}
    return values | parse_inputs(given or [])


def _load(
    model: str,
    inputs: Path | None,
    given: list[str] | None,
    weights: Path | None = None,
    methods: list[str] | None = None,
) -> LoadedModel:
    """The model with its example: what is given, else what stands beside the model."""
    from dycl.loading import load_model  # imports torch

    found = _read_values(inputs, given) if inputs is not None or given else None
    return load_model(model, inputs=found, weights=weights, methods=tuple(methods or ()))


def _with_methods(settings: Settings, loaded: LoadedModel) -> Settings:
    from dycl.settings import OtherMethod  # imports torch

    others = tuple(
        OtherMethod(name=call.method, args=call.args, kwargs=call.kwargs, sampler=call.sample_inputs)
        for call in loaded.others
    )
    return replace(settings, method=loaded.method, others=others)


@app.command("compile")
def compile_command(
    model: ModelArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="The artifact.")] = None,
    target: Annotated[str, typer.Option(help="onnxruntime, tvm, auto: the faster, or another.")] = "onnxruntime",
    tune: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Optimise for this machine; tvm: try N schedules of each function."),
    ] = 0,
    quantize: Annotated[
        str, typer.Option(metavar="SCHEME", help="dynamic-int8: weights of products in eight bits; not exact.")
    ] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what a target leaves to another.")] = False,
    target_plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="auto: choose as in the plan.json of an artifact.")
    ] = None,
    mcpu: Annotated[str, typer.Option(metavar="NAME", help="tvm: the processor to compile for (default: this).")] = "",
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu or cuda: where the subgraphs run.")] = "cpu",
    arch: Annotated[str, typer.Option(metavar="NAME", help="tvm: the GPU to compile for, as sm_90.")] = "",
    opset: Annotated[int, typer.Option(metavar="N", help="The version of ONNX's operators (default: 18).")] = 0,
    ort_optimization: Annotated[
        str, typer.Option(metavar="LEVEL", help="How far ONNX Runtime optimises graphs: basic, extended or all.")
    ] = "all",
    inputs: InputsOption = None,
    input_: InputOption = None,
    weights: WeightsOption = None,
    method: MethodOption = None,
    tunable: TunableOption = None,
    rng: RngOption = Rng.REFUSE,
    dynamic: DynamicOption = None,
    dynamic_arg: DynamicArgOption = None,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Compare with eager on sampled inputs.")] = True,
    samples: Annotated[int, typer.Option(min=0, help="How many sampled inputs to verify on.")] = 20,
    emit: Annotated[str, typer.Option(metavar="KINDS", help="ir,torch: written to DIR/emit, not installed.")] = "",
    profile_inputs: ProfileOption = 0,
    stop_after: Annotated[str, typer.Option(metavar="STAGE", help="Print this stage and stop.")] = "",
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Use what earlier compiles have made.")] = True,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=0, help="Processes that build; 0: one a core.")] = 0,
    verbose: VerboseOption = False,
) -> None:
    """Compile a model to an artifact: a Python package that needs numpy and the target's runtime."""
    kept = "what was measured is kept, the next compile goes on from it" if tune and cache else ""
    with reporting(verbose, kept), progress(verbose) as observer:
        from dycl.ir.dimensions import parse_dynamic
        from dycl.package import find_package_name
        from dycl.pipeline import compile_model, count_processors, show_stage  # imports torch
        from dycl.settings import MOST_JOBS, Settings  # imports torch

        loaded = _load(model, inputs, input_, weights, method)
        kinds = tuple(kind.strip() for kind in emit.split(",") if kind.strip())
        settings = Settings(
            target=target,
            strict=strict,
            tune=tune,
            quantize=quantize,
            plan=target_plan,
            mcpu=mcpu,
            device=device,
            arch=arch,
            opset=opset,
            ort_optimization=ort_optimization,
            tunable=tuple(tunable or ()),
            verify=verify,
            samples=samples,
            emit=kinds,
            rng=rng.value,
            dynamic=parse_dynamic(dynamic or (), dynamic_arg or ()),
            profile=profile_inputs,
            jobs=jobs or min(count_processors(), MOST_JOBS),
            cache=cache,
        )
        call = (loaded.model, loaded.args, loaded.kwargs, _with_methods(settings, loaded))
        if stop_after:
            typer.echo(show_stage(*call, stop_after, loaded.sample_inputs).rstrip("\n"))
            return
        place = output or Path(find_package_name(type(loaded.model).__name__))
        built = compile_model(*call, output=place, sampler=loaded.sample_inputs, observer=observer)
        print_compile_report(built.report, place)


@app.command("run")
def run_command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="The directory of a compiled model.")],
    inputs: InputsOption = None,
    input_: InputOption = None,
    method: Annotated[str, typer.Option("--method", metavar="NAME", help="A further method that was compiled.")] = "",
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write the outputs, as .npz.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Print the decisions taken.")] = False,
    device: DeviceOption = "",
    verbose: VerboseOption = False,
) -> None:
    """Run a compiled model once. Needs no torch."""
    with reporting(verbose):
        loaded = load_artifact(artifact, device=device)
        values = _read_values(inputs, input_)
        host = HostModel(loaded, {})
        result = _call_host(host, loaded, method, values)
        leaves = flatten_names("output", result)
        print_outputs(leaves)
        if trace:
            print_trace(host.trace)
        if output is not None:
            write_outputs(output, leaves)


_CHECKS = frozenset({"arguments.py", "containers.py", "scalars.py", "schemas.py"})  # what a call must pass


def _call_host(host: HostModel, loaded: LoadedArtifact, method: str, values: dict[str, object]) -> object:
    """The model's result; a call that does not fit is a wrong use, an exception of the model is told as such."""
    manifest = loaded.manifest
    found = next((each for each in manifest.methods if each.name == method), None)
    if found is None and method not in ("", manifest.method):
        known = ", ".join([manifest.method, *(each.name for each in manifest.methods)])
        raise UsageError("DY505", UNKNOWN, f"no method {method!r} was compiled", hint=f"compiled: {known}")
    params, signature = (manifest.params, manifest.signature) if found is None else (found.params, found.signature)
    positional, keywords = _find_call(params, values)
    try:
        return host.call_method("" if found is None else method, *positional, **keywords)
    except Exception as error:
        last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if last.name in _CHECKS and last.parent == loaded.directory:
            raise UsageError("DY502", UNKNOWN, str(error), hint=f"the model is {signature}") from error
        stderr().print(f"[bold red]the model raises[/] {escape(type(error).__name__)}: {escape(str(error))}")
        raise typer.Exit(EXIT_UNSUPPORTED) from error


def _find_call(params: Sequence[ParamEntry], values: dict[str, object]) -> tuple[list[object], dict[str, object]]:
    """What is passed by position and by name."""
    keywords = fit_inputs(params, values)
    names = [param.name for param in params if param.kind == "positional only"]
    return [keywords.pop(name) for name in names if name in keywords], keywords


class Format(StrEnum):
    """How `check` prints."""

    TEXT = "text"
    JSON = "json"


@app.command("check")
def check_command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="As for compile.")],
    inputs: InputsOption = None,
    input_: InputOption = None,
    method: MethodOption = None,
    tunable: TunableOption = None,
    rng: RngOption = Rng.REFUSE,
    format_: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Say of each model whether it compiles: everything but building for a target."""
    with reporting(verbose):
        from dycl.settings import Settings  # imports torch

        settings = Settings(tunable=tuple(tunable or ()), rng=rng.value)
        rows = [_check(model, inputs, input_, method, settings, verbose, format_) for model in models]
        if format_ is Format.JSON:
            typer.echo(json.dumps([row for row, _ in rows], indent=2))
        raise typer.Exit(max(code for _, code in rows))


def _check(
    model: str,
    inputs: Path | None,
    given: list[str] | None,
    methods: list[str] | None,
    settings: Settings,
    verbose: bool,
    format_: Format,
) -> tuple[dict[str, Any], int]:
    from dycl.pipeline import check_model  # imports torch

    try:
        loaded = _load(model, inputs, given, methods=methods)
        settings = _with_methods(settings, loaded)
        report = check_model(loaded.model, loaded.args, loaded.kwargs, settings, sampler=loaded.sample_inputs).report
    except Exception as error:  # one model's failure, ours too, is told and does not hide the others
        return _tell_failure(model, error, verbose, format_)
    row = {
        "model": model,
        "ok": True,
        "branches": report.branches,
        "sites": report.sites,
        "blocks": report.blocks,
        "subgraphs": report.subgraphs,
        "structures": report.structures,
        "seconds": round(sum(report.seconds.values()), 3),
        "errors": [],
    }
    if format_ is Format.TEXT:
        counts = ", ".join(f"{row[key]} {key}" for key in ("branches", "blocks", "subgraphs", "structures"))
        stdout().print(f"[green]ok[/]   {escape(model)}: {counts}, {row['seconds']:.1f} s")
    return row, 0


def _tell_failure(model: str, error: Exception, verbose: bool, format_: Format) -> tuple[dict[str, Any], int]:
    errors = find_errors(error)
    if errors is None:
        print_internal(error, verbose)
        message = f"{type(error).__name__}: {error}"
        return {"model": model, "ok": False, "errors": [{"code": "internal", "message": message}]}, EXIT_INTERNAL
    if format_ is Format.TEXT:
        stdout().print(f"[red]FAIL[/] {escape(model)}: {', '.join(error.code for error in errors)}")
        print_errors(errors)
    return {"model": model, "ok": False, "errors": [describe_error(error) for error in errors]}, exit_code(errors)


@app.command("explain")
def explain_command(
    model: ModelArgument,
    inputs: InputsOption = None,
    input_: InputOption = None,
    method: MethodOption = None,
    tunable: TunableOption = None,
    rng: RngOption = Rng.REFUSE,
    profile_inputs: ProfileOption = 0,
    verbose: VerboseOption = False,
) -> None:
    """Show every branch of the source that the input decides, with its sides; then what the passes did, and why.

    Of an artifact: which runtime runs each subgraph, and why.
    """
    with reporting(verbose):
        if is_artifact(Path(model)):
            print_engines(read_manifest(Path(model)))
            return
        from dycl.explain import find_branches
        from dycl.pipeline import check_model, explain_decisions  # imports torch
        from dycl.settings import Settings  # imports torch

        loaded = _load(model, inputs, input_, methods=method)
        settings = _with_methods(Settings(tunable=tuple(tunable or ()), rng=rng.value, profile=profile_inputs), loaded)
        checked = check_model(loaded.model, loaded.args, loaded.kwargs, settings, sampler=loaded.sample_inputs)
        print_branches(find_branches(checked.specialized))
        print_notes(explain_decisions(checked))


cache_app = typer.Typer(help="What compiles keep for later ones.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(cache_app, name="cache")


def _cache() -> Cache:
    knobs = read_knobs()
    found = open_cache(knobs.cache_dir, knobs.cache_size)
    if found is None:
        raise UsageError("DY505", UNKNOWN, "there is no cache", hint="DYCL_CACHE_SIZE is 0, or there is no home for it")
    return found


@cache_app.command("info")
def cache_info_command() -> None:
    """Say where the cache is, how much is in it and how much may be."""
    with reporting(verbose=False):
        info = _cache().info()
        mib = 1 << 20
        typer.echo(f"{info.directory}: {info.entries} entries, {info.size / mib:.1f} of {info.limit / mib:.0f} MiB")


@cache_app.command("clear")
def cache_clear_command() -> None:
    """Remove all that is in the cache."""
    with reporting(verbose=False):
        _cache().clear()


@app.command("bench")
def bench_command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="The directory of a compiled model.")],
    inputs: InputsOption = None,
    input_: InputOption = None,
    threads: Annotated[int, typer.Option(min=1, help="How many compute.")] = 1,
    repeat: Annotated[int, typer.Option(min=30, help="How many calls.")] = 200,
    verbose: VerboseOption = False,
) -> None:
    """Measure a compiled model on one input: latency, dispatches, the host's own share. Needs no torch."""
    with reporting(verbose):
        from dycl.benchmark import measure_host

        loaded = load_artifact(artifact, threads=threads)
        call = _find_call(loaded.manifest.params, _read_values(inputs, input_))
        print_host_report(measure_host(artifact, [call], threads=threads, repeat=repeat))


def main() -> None:
    """The `dycl` command."""
    app()


if __name__ == "__main__":
    main()
