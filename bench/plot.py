"""The results as a drawing: latency by peer on the left, the ratio to the oracle on the right, a line a network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.tables import clock

WIDTH, LEFT, MIDDLE, ROW, TOP = 960, 130, 640, 24, 64
COLOURS = {
    "eager": "#b0524a",
    "torch_compile": "#c9a227",
    "torchscript": "#8a6fb0",
    "onnx_if": "#5b8a8a",
    "oracle": "#333333",
    "dycl": "#1f6fb4",
}
NAMES = {"torch_compile": "torch.compile", "torchscript": "TorchScript", "onnx_if": "ONNX If"}


def draw(rows: Sequence[dict[str, Any]], path: Path, threads: int = 1) -> None:
    """Write the drawing of the rows measured on so many threads."""
    chosen = [clock(row) | {"model": row["model"]} for row in rows if row["threads"] == threads and "dycl_us" in row]
    if chosen:
        path.write_text("\n".join(_svg(chosen, threads)) + "\n", encoding="utf-8")


def _svg(rows: Sequence[dict[str, Any]], threads: int) -> Iterator[str]:
    height = TOP + ROW * len(rows) + 44
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    )
    counted = "1 thread" if threads == 1 else f"{threads} threads"
    yield _text(LEFT, 20, f"microseconds a call, {counted}, logarithmic", bold=True)
    yield _text(MIDDLE + 40, 20, "dycl / oracle (bar: quartiles)", bold=True)
    yield from _legend(rows)
    yield from _latencies(rows, height)
    yield from _ratios(rows, height)
    for number, row in enumerate(rows):
        yield _text(LEFT - 10, _y(number) + 4, row["model"], anchor="end")
    yield "</svg>"


def _legend(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Of those that were measured on some network."""
    x = LEFT
    for name, colour in COLOURS.items():
        if any(f"{name}_us" in row for row in rows):
            label = NAMES.get(name, name)
            yield f'<circle cx="{x + 5}" cy="40" r="5" fill="{colour}"/>'
            yield _text(x + 14, 44, label)
            x += 34 + 7 * len(label)


def _y(number: int) -> float:
    return TOP + ROW * (number + 0.5)


def _latencies(rows: Sequence[dict[str, Any]], height: int) -> Iterator[str]:
    found = [row[f"{name}_us"] for row in rows for name in COLOURS if f"{name}_us" in row]
    low, high = math.floor(math.log10(min(found))), math.log10(max(found))

    def place(value: float) -> float:
        return LEFT + (MIDDLE - LEFT - 20) * (math.log10(value) - low) / max(high - low, 1.0)

    for power in range(low, math.floor(high) + 1):
        yield _line(place(10**power), TOP, place(10**power), height - 40, "#dddddd")
        yield _text(place(10**power), height - 22, f"{10**power:,}", anchor="middle")
    for number, row in enumerate(rows):
        places = {name: place(row[f"{name}_us"]) for name in COLOURS if f"{name}_us" in row}
        yield _line(min(places.values()), _y(number), max(places.values()), _y(number), "#cccccc")
        for name, x in places.items():
            yield f'<circle cx="{x:.1f}" cy="{_y(number):.1f}" r="5" fill="{COLOURS[name]}" fill-opacity="0.9"/>'


def _ratios(rows: Sequence[dict[str, Any]], height: int) -> Iterator[str]:
    rated = [(number, row) for number, row in enumerate(rows) if "ratio_oracle" in row]
    high = max([1.5, *(min(row["ratio_oracle_quartiles"][1], 4.0) for _, row in rated)])

    def place(value: float) -> float:
        return MIDDLE + 40 + (WIDTH - MIDDLE - 70) * min(value, high) / high

    for tick in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0):
        if tick <= high:
            yield _line(place(tick), TOP, place(tick), height - 40, "#888888" if tick == 1.0 else "#dddddd")
            yield _text(place(tick), height - 22, f"{tick:g}", anchor="middle")
    for number, row in rated:
        low_, high_ = (place(value) for value in row["ratio_oracle_quartiles"])
        y = _y(number)
        yield (
            f'<rect x="{low_:.1f}" y="{y - 4:.1f}" width="{max(high_ - low_, 1):.1f}" height="8" '
            f'fill="{COLOURS["dycl"]}" fill-opacity="0.3"/>'
        )
        yield f'<circle cx="{place(row["ratio_oracle"]):.1f}" cy="{y:.1f}" r="4" fill="{COLOURS["dycl"]}"/>'
        if row["ratio_oracle"] > high:  # it stands at the edge, and says how far off it is
            yield _text(place(high) - 10, y + 4, f"{row['ratio_oracle']:.1f} \N{RIGHTWARDS ARROW}", anchor="end")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight} fill="#222222">{text}</text>'
