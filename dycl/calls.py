"""The calls that a compile makes of the model: to see what is in its inputs, which ways are usual, and to verify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from dycl.diagnostics import UNKNOWN, UsageError
from dycl.ir.dimensions import DynamicInputs
from dycl.ir.environment import Call
from dycl.ir.structures import find_structures
from dycl.loading import bind_inputs, split_call
from dycl.sampling import Sample, interleaved, sample_calls
from dycl.settings import Sampler, Settings

PROFILE_SEED = 10_000  # that a model is profiled on: verification and benchmarks use the first ones
USUAL_CALLS = 8  # that a target may look at, where nobody has asked for a profile
_EXAMPLES = 16  # sampled inputs that show what objects look like


@dataclass(frozen=True, slots=True)
class MethodCalls:
    """A method of the model, an example of a call, and how to make more."""

    model: nn.Module
    name: str
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    dynamic: DynamicInputs
    sampler: Sampler | None

    def more_examples(self) -> list[Call]:
        """Further inputs, where these are objects: what is in one example need not be all that may be in others."""
        has_objects = any(True for value in (*self.args, *self.kwargs.values()) for _ in find_structures(value, ""))
        if self.sampler is None or not has_objects:
            return []
        return [bind_inputs(self.model, *split_call(self.sampler(seed)), self.name) for seed in range(_EXAMPLES)]

    def sample(self, count: int, first: int = 0) -> list[Sample]:
        """The example and as many sampled calls, `first` the seed of the first of them."""
        return list(
            sample_calls(
                self.model,
                self.args,
                self.kwargs,
                method=self.name,
                sampler=self.sampler,
                count=count,
                dynamic=self.dynamic,
                first=first,
            )
        )

    def usual(self, count: int) -> tuple[Call, ...]:
        """Calls that show which ways through the model are usual."""
        calls = self.sample(count, PROFILE_SEED) if count else []
        return tuple((call.args, dict(call.kwargs)) for call in calls if not call.is_example)


def find_methods(
    model: nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    settings: Settings,
    sampler: Sampler | None,
) -> tuple[MethodCalls, ...]:
    """The method that is compiled, then the further ones."""
    others = (
        MethodCalls(model, each.name, each.args, each.kwargs, each.dynamic, each.sampler) for each in settings.others
    )
    methods = (MethodCalls(model, settings.method, args, kwargs, settings.dynamic, sampler), *others)
    names = [method.name for method in methods]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError("DY505", UNKNOWN, f"the method {twice!r} is named twice")
    return methods


def sample_to_verify(methods: Sequence[MethodCalls], count: int) -> list[Sample]:
    """The calls of a verification, those of further methods between those of the first."""
    first, *others = methods
    return list(interleaved(first.sample(count), {method.name: method.sample(count) for method in others}))
