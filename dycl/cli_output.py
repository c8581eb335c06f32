"""What the commands print: progress, tables, diagnostics; and what becomes of an error."""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from dycl.diagnostics import DyclError, UsageError, render

if TYPE_CHECKING:
    from dycl.benchmark import HostReport
    from dycl.explain import BranchReport, Side
    from dycl.hosting import Decision
    from dycl.ir.notes import Note
    from dycl.manifest import Manifest
    from dycl.pipeline import CompileReport
    from dycl.verification import VerificationReport

EXIT_UNSUPPORTED, EXIT_USAGE, EXIT_INTERNAL = 1, 2, 3
EXIT_INTERRUPTED = 130  # as shells have it: 128 and the number of the signal
_SHOWN_CALLS = 8
_MIB = 1 << 20


def stdout() -> Console:
    """The console of results; made anew for each command, since tests exchange the streams."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def stderr() -> Console:
    """The console of progress and diagnostics."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


# ---------------------------------------------------------------- errors


def find_errors(error: BaseException) -> list[DyclError] | None:
    """The diagnostics in an exception, several if they come as a group; None if it is something else."""
    if isinstance(error, DyclError):
        return [error]
    if isinstance(error, BaseExceptionGroup):
        parts = [find_errors(part) for part in error.exceptions]
        return [found for part in parts for found in part or ()] if all(part is not None for part in parts) else None
    return None


def exit_code(errors: list[DyclError]) -> int:
    """2 if the command or its inputs are wrong, 1 if the model cannot be compiled."""
    return EXIT_USAGE if any(isinstance(error, UsageError) for error in errors) else EXIT_UNSUPPORTED


def print_errors(errors: list[DyclError]) -> None:
    """Each diagnostic with its line and caret; in colour on a terminal."""
    console = stderr()
    for error in errors:
        head, _, rest = render(error).partition("\n")
        head = escape(head).replace(f"error {error.code}:", f"[bold red]error {error.code}:[/]", 1)
        console.print(head + (f"\n{escape(rest)}" if rest else ""))


def describe_error(error: DyclError) -> dict[str, object]:
    """A diagnostic for a program to read: its column counts from 1."""
    loc = error.loc
    place = {"file": loc.file, "line": loc.line, "column": loc.column + 1} if loc.line else {}
    return {"code": error.code, **place, "message": error.message, "hint": error.hint}


@contextmanager
def reporting(verbose: bool = False, kept: str = "") -> Iterator[None]:
    """Run a command; its errors become diagnostics and exit codes, an unexpected one a report in a file.

    `kept`: what is left of it where Ctrl-C ends it.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt as error:
        stderr().print(f"interrupted{kept and ': '}{kept}")
        raise typer.Exit(EXIT_INTERRUPTED) from error
    except Exception as error:
        errors = find_errors(error)
        if errors is None:
            print_internal(error, verbose)
            raise typer.Exit(EXIT_INTERNAL) from error
        print_errors(errors)
        raise typer.Exit(exit_code(errors)) from error


def print_internal(error: Exception, verbose: bool) -> None:
    """A bug of ours: one line, and the path of a report that holds the traceback."""
    text = "".join(traceback.format_exception(error))
    path = Path(tempfile.mkdtemp(prefix="dycl-report-")) / "report.txt"
    path.write_text(f"{' '.join(sys.argv)}\n\n{text}", encoding="utf-8")
    console = stderr()
    first = (str(error).splitlines() or [""])[0]
    console.print(f"[bold red]internal error:[/] {escape(type(error).__name__)}: {escape(first)}")
    console.print(f"This is a bug of dycl, not of the model. The report is in {escape(str(path))}")
    if verbose:
        console.print(escape(text))


# ---------------------------------------------------------------- a call


def print_outputs(leaves: Mapping[str, object]) -> None:
    """What a call has returned, leaf by leaf."""
    for name, leaf in leaves.items():
        typer.echo(f"{name}: {_describe(leaf)}")


def _describe(leaf: object) -> str:
    if not isinstance(leaf, np.ndarray):
        return repr(leaf)
    text = np.array2string(leaf, threshold=20, precision=6, separator=", ").replace("\n", "\n    ")
    return f"{leaf.dtype.name}{list(leaf.shape)}\n    {text}"


def print_trace(trace: Iterable[Decision]) -> None:
    """The decisions of a call, each with its place and its line."""
    for decision in trace:
        typer.echo(f"{decision.location}: {str(decision.taken).lower():<5}  {decision.text}")


# ---------------------------------------------------------------- progress and tables


class Progress:
    """Shows the stage that is running; with `verbose` every stage that has ended, with its time."""

    def __init__(self, console: Console, status: Status, *, verbose: bool) -> None:
        self._console, self._status, self._verbose = console, status, verbose

    def start(self, stage: str) -> None:
        """Name the stage."""
        self._status.update(stage)

    def detail(self, text: str) -> None:
        """Show it where it can be overwritten; with `verbose` on a line of its own."""
        if self._console.is_terminal:
            self._status.update(escape(text))
        elif self._verbose:
            self._console.print(escape(text))

    def finish(self, stage: str, seconds: float) -> None:
        """Tell its time, if that is wanted."""
        if self._verbose:
            self._console.print(f"{stage:<16} {seconds:7.2f} s")


@contextmanager
def progress(verbose: bool) -> Iterator[Progress]:
    """An observer of stages that draws on the terminal."""
    console = stderr()
    with console.status("loading the model") as status:
        yield Progress(console, status, verbose=verbose)


def print_compile_report(report: CompileReport, directory: Path) -> None:
    """The closing table of a compile."""
    device = "" if report.device == "cpu" else f" on {report.device}"
    table = Table(title=f"{report.program.name} for {report.target}{device}: {directory}", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    program = report.program
    rows = {
        "branches": f"{program.branches} in the source, {program.sites} decisions in the program",
        "blocks": str(program.blocks),
        "subgraphs": str(program.subgraphs),
        "unique structures": f"{program.structures} ({_write_exports(report)})",
        "state": f"{program.state} attributes kept between calls" if program.state else "none",
        "runtimes": _write_engines(report),
        "size": f"{report.size / _MIB:.2f} MiB, {report.weight_bytes / _MIB:.2f} MiB of it weights",
        "time": f"{sum(report.seconds.values()):.1f} s: {_write_times(report.seconds)}",
        "quantised": _write_quantized(report),
        "verification": "" if report.accuracy else _write_verification(report.verification),
        "verified on": f"the processor: {report.device_missing}" if report.device_missing else "",
    }
    for name, text in rows.items():
        if text:
            table.add_row(name, escape(text))
    stdout().print(table)


def _write_engines(report: CompileReport) -> str:
    """How many subgraphs each runtime has, where there are several, and why."""
    counts = Counter(subgraph.engine for subgraph in report.subgraphs if subgraph.engine)
    reasons = Counter(subgraph.reason for subgraph in report.subgraphs if subgraph.reason)
    lines = [", ".join(f"{engine} {count}" for engine, count in sorted(counts.items()))] if counts else []
    return "\n".join([*lines, *(f"{reason} ({count})" for reason, count in sorted(reasons.items()))])


def print_engines(manifest: Manifest) -> None:
    """Which runtime runs each subgraph of an artifact, and why."""
    console = stdout()
    for name, entry in manifest.subgraphs.items():
        place = f"{entry.location.file}:{entry.location.line}"
        console.print(f"[bold]{escape(name)}[/]  {escape(place)}  {escape(entry.engine or manifest.target)}")
        if entry.microseconds:
            times = sorted(entry.microseconds.items(), key=lambda item: item[1])
            console.print(f"    {', '.join(f'{name} {time:,.1f} µs' for name, time in times)}")
        if entry.reason:
            console.print(f"    {escape(entry.reason)}")


def _write_quantized(report: CompileReport) -> str:
    """What fewer bits have done to the results, where they were asked for."""
    accuracy = report.accuracy
    count = f"{report.quantized_products} products by weights of eight bits" if report.quantized_products else ""
    if accuracy is None:
        return count
    same = accuracy.calls - len(accuracy.flipped) - len(accuracy.changed)
    lines = [count or "no product has a weight that is large enough"]
    lines.append(f"{same} of {accuracy.calls} calls: the same path, results off by up to {accuracy.max_abs_error:.2g}")
    lines += [f"another path: {origin}" for origin in accuracy.flipped]
    lines += [f"other results: {text}" for text in accuracy.changed]
    return "\n".join(lines)


def _write_exports(report: CompileReport) -> str:
    reused = report.structures_reused
    exported = f"{report.structures_exported - reused} exported"
    return f"{exported}, {reused} from the cache" if reused else exported


def _write_times(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items() if value >= 0.05)


def _write_verification(report: VerificationReport | None) -> str:
    if report is None:
        return "none (--no-verify)"
    lines = [
        f"{report.calls} calls on {report.paths} paths agree with eager; largest error {report.max_abs_error:.2g}",
        f"{len(report.exercised)} of {report.edges} branch edges exercised, {len(report.forced)} more by force",
    ]
    if report.state:
        lines.append(f"state compared after every call: {', '.join(report.state)}")
    if report.skipped:
        lines.append(f"{report.skipped} sampled calls have another signature and were left out")
    lines += [f"tie: {tie.origin}: {tie.difference}" for tie in report.ties]
    lines += [f"not exercised: block {found.edge[0]}, {found.edge[1]}: {found.reason}" for found in report.unreached]
    return "\n".join(lines)


def print_notes(notes: Iterable[Note]) -> None:
    """What the passes decided, those that did something first; equal decisions about one line are one."""
    console = stdout()
    counts = Counter((not note.done, note.step, str(note.loc), note.loc.text, note.text) for note in notes)
    for (idle, step, place, line, text), count in sorted(counts.items(), key=lambda item: item[0][0]):
        times = f" ({count} times)" if count > 1 else ""
        style = "dim" if idle else "green"
        console.print(f"[{style}]{step}[/]  [bold]{escape(place)}[/]  {escape(line)}\n    {escape(text)}{times}")


def print_host_report(report: HostReport) -> None:
    """What a call costs, and where."""
    low, middle, high = report.latency
    table = Table(title=f"{middle:,.1f} µs a call (quartiles {low:,.1f} and {high:,.1f}; {report.calls} calls)")
    for column, justify in (("subgraph", "left"), ("runs in a call", "right"), ("µs", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for name, (count, spent) in report.subgraphs.items():
        if count:
            table.add_row(name, f"{count / report.watched:.1f}", f"{spent:,.1f}")
    console = stdout()
    console.print(table)
    console.print(
        f"{report.dispatches:.1f} dispatches and {report.decisions:.1f} decisions a call; "
        f"{100 * report.host_share:.0f} % of the time in the host itself; loaded in {report.load_seconds:.2f} s"
    )


def print_branches(branches: tuple[BranchReport, ...]) -> None:
    """Each input-dependent branch: place, source line, variants and both sides."""
    console = stdout()
    if not branches:
        console.print("no branch depends on the input")
    for branch in branches:
        variants = f"{len(branch.sites)} variants" if len(branch.sites) > 1 else "1 variant"
        console.print(f"[bold]{escape(str(branch.loc))}[/]  {escape(branch.text)}  ({variants})")
        console.print(f"    true:  {escape(_write_side(branch.if_true))}")
        console.print(f"    false: {escape(_write_side(branch.if_false))}")


def _write_side(side: Side) -> str:
    calls = list(side.calls[:_SHOWN_CALLS])
    more = len(side.calls) - len(calls)
    parts = [", ".join(calls) + (f" and {more} more" if more else "")] if calls else []
    return "; ".join([*parts, *side.ends]) or "nothing"
