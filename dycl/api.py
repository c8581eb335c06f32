"""The Python interface: `compile` a live model, `load` an artifact, call the result like the model."""

from __future__ import annotations

import inspect
import shutil
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dycl.artifact import load_artifact, stage_artifact
from dycl.diagnostics import UNKNOWN, UsageError
from dycl.hosting import Decision, HostModel, import_classes

if TYPE_CHECKING:
    from torch import nn

    from dycl.ir.program import Program
    from dycl.pipeline import CompileReport
    from dycl.settings import OtherMethod


@dataclass(frozen=True, kw_only=True)
class Method:
    """A further method for `compile`: the inputs of an example call, and what `compile` takes for each method."""

    example_inputs: object = ()
    kwargs: Mapping[str, object] = field(default_factory=dict)
    sample_inputs: Callable[[int], object] | None = None
    dynamic_shapes: object = None
    dynamic_args: Sequence[str] = ()


class CompiledModel:
    """A compiled model, called as its source is: arrays in, arrays out; tensors in, tensors out.

    Further compiled methods are methods of this object too, unless it has a name of its own for something else;
    `call_method` reaches all of them. `decisions` are those of the last call. `program` (the HCFG) and `report` belong
    to a fresh compile; an artifact that was loaded has none.
    """

    def __init__(
        self,
        host: HostModel,
        *,
        program: Program | None = None,
        report: CompileReport | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._host = host
        self.program = program
        self.report = report
        for name in host.methods:
            if name == "reset" or not hasattr(type(self), name):  # the model's own `reset` stands before ours
                setattr(self, name, partial(host.call_method, name))
        if scratch is not None:
            weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """What the model's method returns for these inputs."""
        return self._host.call(*args, **kwargs)

    def call_method(self, method: str, /, *args: object, **kwargs: object) -> Any:
        """What another compiled method of the model returns; all share one state."""
        if method not in self._host.methods:
            known = ", ".join(self._host.methods) or "none"
            raise AttributeError(f"no method {method!r} was compiled; beside the model's own call: {known}")
        return self._host.call_method(method, *args, **kwargs)

    @property
    def methods(self) -> tuple[str, ...]:
        """The compiled methods beside the model's own call."""
        return self._host.methods

    @property
    def decisions(self) -> list[Decision]:
        """The decisions of the last call, in order."""
        return self._host.trace

    @property
    def state(self) -> dict[str, object]:
        """The attributes that the model writes between calls, by their paths, as they are now."""
        return self._host.state

    @property
    def host(self) -> Any:
        """The instance of the generated class: its tunables are set here."""
        return self._host.host

    @property
    def directory(self) -> Path:
        """Where the artifact lies."""
        return self._host.artifact.directory

    def load_state(self, state: Mapping[str, object]) -> None:
        """Go on from what `state` gave, here or of another instance; ValueError if the model has no such state."""
        self._host.load_state(state)

    def restart(self) -> None:
        """Back to the state that the model had when it was compiled."""
        self._host.reset()

    def reset(self) -> Any:
        """`restart()`; where the model's own `reset` was compiled, that."""
        self.restart()

    def seed(self, seed: int) -> None:
        """Begin the random numbers of the host anew; without effect where it draws none."""
        self._host.seed(seed)

    def save(self, directory: str | Path) -> None:
        """Write the artifact to a directory, in one step."""
        target = Path(directory)
        if target.resolve() == self.directory:
            return
        with stage_artifact(target) as staging:
            shutil.copytree(self.directory, staging.directory, dirs_exist_ok=True)
            staging.publish()


def compile(
    model: nn.Module,
    example_inputs: object,
    *,
    kwargs: Mapping[str, object] | None = None,
    target: str = "onnxruntime",
    strict: bool = False,
    quantize: str = "",
    tune: int = 0,
    target_plan: str | Path | None = None,
    mcpu: str = "",
    device: str = "cpu",
    arch: str = "",
    opset: int = 0,
    ort_optimization: str = "all",
    output: str | Path | None = None,
    tunable: Sequence[str] = (),
    verify: bool = True,
    samples: int | None = None,
    sample_inputs: Callable[[int], object] | None = None,
    method: str = "forward",
    methods: Mapping[str, object] | None = None,
    rng: str = "refuse",
    dynamic_shapes: object = None,
    dynamic_args: Sequence[str] = (),
    profile_inputs: int = 0,
    jobs: int = 1,
    cache: bool = True,
) -> CompiledModel:
    """The compiled model, verified against the source on the example and on `samples` sampled inputs.

    `example_inputs` is a tuple of the positional arguments, or one value; `kwargs` the keyword arguments. Without
    `output` the artifact lies in a temporary directory that lives as long as the result. `sample_inputs(seed)` gives
    the inputs to verify on; without it they are perturbations of the example. `rng`: random operations are refused, or
    drawn by the "host", where `seed(n)` begins the numbers that torch draws on the CPU after `torch.manual_seed(n)`.

    `quantize`: "dynamic-int8" gives large weights of products eight bits; the report's `accuracy` says how far the
    results are off, and how many calls take another path.

    `tune`: above 0, the artifact is optimised for the machine that compiles. For ONNX Runtime it has a second set of
    subgraphs, used there alone; "tvm" tries so many schedules of each function and keeps the fastest.
    `strict`: a target that leaves to ONNX Runtime what it cannot compile refuses it instead; "auto" refuses what one of
    its targets does not take. `mcpu`: the processor that
    "tvm" compiles for, as LLVM names it; this machine's if none is named. `target_plan`: the `plan.json` of an artifact
    for "auto", whose choices are made again.

    `device`: "cuda" compiles for a GPU; inputs and results are arrays of the host's all the same, what passes between
    subgraphs stays there. Where there is no GPU the result is verified, and runs, on the processor, with a warning.
    `arch`: what kind of GPU "tvm" compiles for, as CUDA names it ("sm_90"); that of this machine if none is named.

    `opset`: the version of ONNX's operators, if not the exporter's own (18). `ort_optimization`: how far ONNX Runtime
    optimises a graph when it opens it: "basic", "extended" or "all".

    `method` is what a call of the result means. `methods` are further ones that share its state: of each an example of
    its inputs, as `example_inputs` is, or a `Method` that says more: `methods={"reset": (), "step": (x,)}`.

    `dynamic_shapes` names dimensions of the inputs, as torch.export does: `{"x": {0: "batch"}}`, or with a range,
    `{"x": {0: torch.export.Dim("batch", min=1, max=64)}}`. Equal names are one size. `dynamic_args` are the numbers
    and texts that each call gives (`"n"`; `"n[0:8]"` for an integer in a range); all others are constants. `cache`:
    what earlier compiles have made is used, and what this one makes is kept. `profile_inputs`: from so many sampled
    calls it is learned which ways through the model are usual; along these, one dispatch does the work of several.
    `jobs`: how many processes build at the same time; they are forks of this one, whose other threads should hold no
    locks then.
    """
    # Imported here: the pipeline imports torch, and `load` works without it.
    from dycl.ir.dimensions import read_dynamic
    from dycl.loading import as_tensors, bind_inputs
    from dycl.pipeline import compile_model
    from dycl.settings import DEFAULT_SAMPLES, OtherMethod, Settings

    if samples is not None and samples < 0:
        raise UsageError("DY505", UNKNOWN, f"samples must not be negative, it is {samples}")
    if rng not in ("refuse", "host"):
        raise UsageError("DY505", UNKNOWN, f'rng must be "refuse" or "host", it is {rng!r}')

    def read(name: str, wanted: Method) -> OtherMethod:
        inputs = wanted.example_inputs
        positional = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
        given = tuple(as_tensors(value) for value in positional)
        named = {key: as_tensors(value) for key, value in wanted.kwargs.items()}
        args, keywords = bind_inputs(model, given, named, name)
        parameters = list(inspect.signature(getattr(model, name)).parameters)
        dynamic = read_dynamic(wanted.dynamic_shapes, parameters, wanted.dynamic_args)
        return OtherMethod(name=name, args=args, kwargs=keywords, dynamic=dynamic, sampler=wanted.sample_inputs)

    first = Method(
        example_inputs=example_inputs,
        kwargs=kwargs or {},
        sample_inputs=sample_inputs,
        dynamic_shapes=dynamic_shapes,
        dynamic_args=dynamic_args,
    )
    main = read(method, first)
    settings = Settings(
        method=method,
        others=tuple(
            read(name, each if isinstance(each, Method) else Method(example_inputs=each))
            for name, each in (methods or {}).items()
        ),
        dynamic=main.dynamic,
        target=target,
        strict=strict,
        quantize=quantize,
        tune=tune,
        plan=None if target_plan is None else Path(target_plan),
        mcpu=mcpu,
        device=device,
        arch=arch,
        opset=opset,
        ort_optimization=ort_optimization,
        tunable=tuple(tunable),
        verify=verify,
        samples=DEFAULT_SAMPLES if samples is None else samples,
        rng=rng,
        profile=profile_inputs,
        jobs=jobs,
        cache=cache,
    )
    place = None if output is None else Path(output)
    built = compile_model(model, main.args, main.kwargs, settings, output=place, sampler=sample_inputs)
    if built.artifact.device != device:
        message = f"compiled for {device}, which is not here: this object runs on {built.artifact.device}"
        warnings.warn(message, stacklevel=2)
    host = HostModel(built.artifact, built.checked.environment.classes)
    return CompiledModel(host, program=built.checked.program, report=built.report, scratch=built.scratch)


def load(
    directory: str | Path,
    *,
    threads: int | None = None,
    seed: int | None = None,
    lazy: bool = False,
    device: str = "",
) -> CompiledModel:
    """The compiled model in a directory, every file verified, its random numbers begun at `seed`. Needs no torch.

    `lazy`: a subgraph is opened when a call first comes to it, so that loading takes as long as one path does.
    `device`: "cpu" runs on the processor what was compiled for a GPU. Unasked that is not done: DY406.
    """
    artifact = load_artifact(Path(directory), threads=threads, lazy=lazy, device=device)
    model = CompiledModel(HostModel(artifact, import_classes(artifact.manifest.classes)))
    if seed is not None:
        model.seed(seed)
    return model
