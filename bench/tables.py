"""The results of the benchmark as tables: for the terminal and for docs/performance.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from bench.report import markdown_table

Rows = Sequence[dict[str, Any]]
Lines = list[list[str]]

_PEERS = (
    ("eager", "eager"),
    ("torch_compile", "torch.compile"),
    ("torchscript", "TorchScript"),
    ("onnx_if", "ONNX If"),
)


def latency_table(rows: Rows) -> Lines:
    """Head and lines: microseconds a call by peer, and the ratios."""
    titles = [title for _, title in _PEERS]
    head = ["network", "threads", "clock", *titles, "oracle", "dycl", "dycl / oracle", "processes", "best / dycl"]
    return [head, *(_latency_line(row) for row in rows)]


def is_disturbed(row: dict[str, Any]) -> bool:
    """Whether so much else ran that only the processor's time says something: more to do than cores, one thread."""
    return row["threads"] == 1 and row.get("load_average", 0) > row.get("cores", 2)


def clock(row: dict[str, Any]) -> dict[str, Any]:
    """The times of a row by the clock that can be trusted."""
    chosen: dict[str, Any] = row["cpu"] if is_disturbed(row) else row
    return chosen


def _latency_line(row: dict[str, Any]) -> list[str]:
    times = clock(row)
    names = [*(name for name, _ in _PEERS), "oracle", "dycl"]
    best = f"{times['ratio_best_peer']:.2f} ({dict(_PEERS)[times['best_peer']]})" if "best_peer" in times else ""
    measured = [_microseconds(times, name) for name in names]
    kind = "processor" if is_disturbed(row) else "wall"
    processes = ", ".join(f"{ratio:.2f}" for ratio in row.get("ratio_oracle_processes", ()))
    return [row["model"], str(row["threads"]), kind, *measured, _with_spread(times, "ratio_oracle"), processes, best]


def _microseconds(row: dict[str, Any], name: str) -> str:
    return f"{row[f'{name}_us']:,.0f}" if f"{name}_us" in row else "-"


def _with_spread(row: dict[str, Any], key: str) -> str:
    if key not in row:
        return "-"
    low, high = row[f"{key}_quartiles"]
    return f"{row[key]:.2f} ({low:.2f}-{high:.2f})"


def cost_table(rows: Rows) -> Lines:
    """Head and lines: what a call is made of, memory, size and compile time."""
    head = [
        "network",
        "dispatches",
        "decisions",
        "host's share",
        "RSS / oracle's",
        "artifact / weights",
        "with what is tuned",
        "load, s",
        "compile, s",
    ]
    return [head, *(_cost_line(row) for row in rows if row["threads"] == 1 and "dispatches" in row)]


def _cost_line(row: dict[str, Any]) -> list[str]:
    memory = f"{row['rss_dycl_mib']:.0f} / {row['rss_oracle_mib']:.0f} MiB" if "rss_dycl_mib" in row else "-"
    return [
        row["model"],
        f"{row['dispatches']:.1f}",
        f"{row['decisions']:.1f}",
        f"{100 * row['host_share']:.0f} %",
        memory,
        f"{(row['artifact_bytes'] - row.get('tuned_bytes', 0)) / row['state_dict_bytes']:.2f}",
        f"{row['artifact_bytes'] / row['state_dict_bytes']:.2f}",
        f"{row['load_seconds']:.2f}",
        f"{row['compile_seconds']['total']:.0f}",
    ]


def geometric_mean(values: Iterable[float]) -> float:
    """The mean of ratios."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def overview(rows: Rows) -> str:
    """The targets' numbers in words, over all rows."""
    lines = []
    for threads in sorted({row["threads"] for row in rows}):
        measured = [row for row in rows if row["threads"] == threads and "ratio_oracle" in row]
        if not measured:
            continue
        keys = ("ratio_oracle", "ratio_eager", "ratio_best_peer")
        means = {key: geometric_mean(clock(row)[key] for row in measured if key in clock(row)) for key in keys}
        text = (
            f"{threads} thread{'s' if threads > 1 else ''}, geometric mean over {len(measured)} rows: "
            f"dycl / oracle {means['ratio_oracle']:.2f}, eager / dycl {means['ratio_eager']:.2f}, "
            f"best peer / dycl {means['ratio_best_peer']:.2f}."
        )
        lines.append(text)
    return "\n".join(lines)


def rich_table(lines: Lines, title: str) -> Table:
    """For the terminal."""
    table = Table(title=title)
    for index, column in enumerate(lines[0]):
        table.add_column(column, justify="right" if index else "left")
    for line in lines[1:]:
        table.add_row(*line)
    return table


def section(results: dict[str, Any]) -> str:
    """The section of docs/performance.md."""
    rows = results["rows"]
    loads = [row["load_average"] for row in rows if "load_average" in row]
    busy = f" Other work ran at the same time (load average {min(loads):.0f} to {max(loads):.0f})." if loads else ""
    parts = [
        "## Latency",
        f"{results['machine']}.{busy} Batch 1; microseconds, medians over calls in turns, in random order, on the same "
        "sampled inputs. Ratios are medians over the rounds, each of two calls on one input in one round, with the "
        "quartiles; a row is what the middle one of several processes says, and *processes* what each said. *Clock*: "
        "where more was to do than there are cores, the wall's clock measures the other work, "
        "so one thread is told in the processor's time. The *oracle* is one static ONNX graph of exactly the path that "
        "the input takes, predicates included as outputs, run by the same target with the same threads. "
        "Artifacts are [tuned](how-to/tune.md) to this machine and know from other inputs which ways are usual "
        "([profile](how-to/profile.md)).",
        "![Latency by peer, and ratio to the oracle](performance.svg)",
        _markdown(latency_table(rows)),
        overview(rows).replace("\n", "\n\n"),
        "What a call is made of (one thread), peak memory in a process without torch, size and time:",
        _markdown(cost_table(rows)),
        _missing(rows),
        _failed(results.get("failed", {})),
    ]
    return "\n\n".join(part for part in parts if part)


def _markdown(lines: Lines) -> str:
    return markdown_table(lines[0], lines[1:])


def _failed(failed: dict[str, str]) -> str:
    told = "; ".join(f"{name} ({reason})" for name, reason in failed.items())
    return f"Rows that could not be measured: {told}." if told else ""


def _missing(rows: Rows) -> str:
    titles = dict(_PEERS)
    refused: dict[str, list[str]] = {}
    skipped: dict[str, list[str]] = {}
    for row in rows:
        for name, reason in row["missing"].items():
            if name in titles and row["threads"] == 1:
                found = skipped if reason == "not measured" else refused
                found.setdefault(titles[name], []).append(row["model"])
    told = [f"{peer} does not take {', '.join(models)}" for peer, models in refused.items()]
    told += [f"{peer} was not measured on {', '.join(models)}" for peer, models in skipped.items()]
    return f"Where a column is empty: {'; '.join(told)}. The reasons are in `bench/results.json`." if told else ""
