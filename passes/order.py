"""The passes in their order, on one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dycl.ir.environment import Environment
from dycl.ir.notes import Note
from dycl.ir.program import Program
from dycl.ir.verifier import verify
from dycl.passes import (
    compute_elements,
    copy_down,
    dead_code,
    deduplicate,
    fold_host,
    functionalise,
    fuse,
    hand_on,
    hoist,
    inline,
    partition,
    peel,
    pin_to_host,
    place,
    propagate,
    read_elements,
    read_sizes,
    simplify_cfg,
    sink,
    sink_common,
    sink_work,
    speculate,
)

Observer = Callable[[str, Program], None]


@dataclass(frozen=True, slots=True)
class Pass:
    """A step: the name under which it is dumped, what it does, the steps that must have run before, what it decides."""

    name: str
    run: Callable[[Program, Environment], Program]
    requires: tuple[str, ...] = ()
    explain: Callable[[Program, Environment], tuple[Note, ...]] | None = None


PASSES: tuple[Pass, ...] = (
    Pass("simplify-cfg", simplify_cfg.run),
    Pass("fold-host", fold_host.run),
    Pass("dead-code", dead_code.run),
    # What folding decided and dead code emptied is simplified again, and what that merged is folded again.
    Pass("simplify-cfg-2", simplify_cfg.run),
    Pass("fold-host-2", fold_host.run),
    Pass("dead-code-2", dead_code.run),
    # What was asked before in other words is not asked again.
    Pass("propagate", propagate.run, explain=propagate.explain),
    Pass("simplify-cfg-3", simplify_cfg.run),
    # Writes that nobody can see stand in the way of what moves next.
    Pass("functionalise", functionalise.run),
    # What the host alone looks at, and can do in the time of a kernel, it does.
    Pass("pin-to-host", pin_to_host.run, explain=pin_to_host.explain),
    # What the host can read where it lies takes no dispatch.
    Pass("read-elements", read_elements.run),
    # What the host would only have a dispatch compute for it, it computes itself.
    Pass("compute-elements", compute_elements.run, explain=compute_elements.explain),
    # What every way into a block does at its end is done once, in the block.
    Pass("sink-common", sink_common.run, explain=sink_common.explain),
    # What a recursive function does where it does not recurse, its callers do.
    Pass("inline", inline.run, explain=inline.explain),
    # The work of a node and that for its first child can be one.
    Pass("peel", peel.run, explain=peel.explain),
    # What is the same in every round moves out of a loop.
    Pass("hoist", hoist.run, explain=hoist.explain),
    # Light work is done before decisions, in the dispatch that makes its operands.
    Pass("hoist-early", hoist.run_early, explain=hoist.explain_early),
    # Work that several sides need goes to the dispatches that these have anyway.
    Pass("copy-down", copy_down.run, explain=copy_down.explain),
    # Work that one side of a branch alone needs moves there.
    Pass("sink-work", sink_work.run, explain=sink_work.explain),
    # The work at a join moves into the dispatches before it; what that leaves empty is simplified once more.
    Pass("fuse", fuse.run, explain=fuse.explain),
    Pass("simplify-cfg-4", simplify_cfg.run),
    Pass("fold-host-3", fold_host.run),
    Pass("dead-code-3", dead_code.run),
    # Along the ways that calls usually take one dispatch does the work of several.
    Pass("speculate", speculate.run, explain=speculate.explain),
    # Nor is a dispatch needed for what the host looks at before another dispatch does.
    Pass("pin-to-host-late", pin_to_host.run_late, explain=pin_to_host.explain_late),
    Pass("partition", partition.run),
    # A result that is handed out for its size alone is not, where another has that size.
    Pass("read-sizes", read_sizes.run, requires=("partition",)),
    # What subgraphs hand each other stays as the target has made it, though the host asks for something of it.
    Pass("hand-on", hand_on.run, requires=("partition",)),
    # Host operations no longer race with writes of memory: a text can be put together on the side that needs it.
    Pass("sink", sink.run, requires=("partition",)),
    Pass("deduplicate", deduplicate.run, requires=("partition",)),
)

# For a device that is not the host's processor. Last: what is placed and fetched depends on what is a dispatch.
DEVICE_PASSES: tuple[Pass, ...] = (Pass("place", place.run, requires=("deduplicate",)),)


# Passes that only improve a program: each may be left out.
OPTIONAL_PASSES = frozenset(step.name for step in PASSES) - {"partition", "deduplicate"}


def run_passes(program: Program, environment: Environment, steps: Sequence[Pass], observe: Observer) -> Program:
    """The program after the steps, in order; each result is checked and shown to the observer."""
    done: set[str] = set()
    for step in steps:
        missing = [name for name in step.requires if name not in done]
        assert not missing, f"{step.name} needs {missing} before it"
        program = step.run(program, environment)
        verify(program, after=step.name)
        observe(step.name, program)
        done.add(step.name)
    return program


def explain_passes(program: Program, environment: Environment, steps: Sequence[Pass]) -> tuple[Note, ...]:
    """What the steps decide about this program, and why."""
    notes: list[Note] = []
    for step in steps:
        notes += step.explain(program, environment) if step.explain else ()
        program = step.run(program, environment)
    return tuple(notes)
