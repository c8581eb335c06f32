"""What the bytes of artifacts are: `python -m bench.sizes [--write-docs]` reads what `python -m bench` has compiled.

`--real` compiles networks of the zoo as wide as they are used, one after the other, and tells theirs.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from bench.report import WORK, markdown_table, write_section
from bench.rows import ROWS
from bench.tables import rich_table

if TYPE_CHECKING:
    from torch import nn

    from bench.real import RealNetwork

_FILES = {
    "weights.bin": "weights",
    "tuned.bin": "tuned",
    "tuned.zip": "tuned",
    "subgraphs.zip": "graphs",
    "host.py": "host",
    "manifest.json": "manifest",
}
_PARTS = ("weights", "graphs", "host", "manifest", "runtime")
_GOAL = 1.05  # an artifact to the state dict of its model, without what is tuned


def measure(artifact: Path) -> Counter[str]:
    """Bytes of an artifact by what they are; `runtime`: the text that artifacts of other models have too."""
    found: Counter[str] = Counter()
    for path in artifact.rglob("*"):
        name = path.relative_to(artifact).as_posix()
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        found[_FILES.get(name, "runtime")] += path.stat().st_size
    return found


def state_dict_bytes(model: nn.Module) -> int:
    """What the tensors of a model's state dict take, those of two names once."""
    state = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())


def table(work: Path) -> list[list[str]]:
    """Head and a line for each row that was compiled."""
    head = ["network", "state dict", *_PARTS, "artifact / state dict", "without what all have", "with what is tuned"]
    lines = [head]
    for name in ROWS:
        directory = work / name
        if (directory / "prepared.json").exists():
            prepared: dict[str, Any] = json.loads((directory / "prepared.json").read_text(encoding="utf-8"))
            lines.append(_line(name, prepared["state_dict_bytes"], measure(directory / "artifact")))
    return lines


def _line(name: str, state: int, found: Counter[str]) -> list[str]:
    plain = found.total() - found["tuned"]
    ratios = (plain, plain - found["runtime"], found.total())
    sizes = (state, *(found[part] for part in _PARTS))
    return [name, *(f"{size:,}" for size in sizes), *(f"{size / state:.2f}" for size in ratios)]


REAL_HEAD = ["network", "state dict", *_PARTS, "artifact / state dict", "1.05 from a state dict of"]


def real_line(title: str, state: int, found: Counter[str]) -> list[str]:
    """A network as wide as it is used; what is not weights grows with depth alone, so it says how wide is enough."""
    enough = (found.total() - found["weights"]) / (_GOAL - 1)
    sizes = (state, *(found[part] for part in _PARTS))
    return [title, *(f"{size:,}" for size in sizes), f"{found.total() / state:.3f}", f"{enough:,.0f}"]


def compile_real(network: RealNetwork) -> list[str]:
    """Its line, once it is compiled."""
    from bench.real import SETTINGS
    from dycl.pipeline import compile_model

    model, loaded = network.load()
    with tempfile.TemporaryDirectory() as folder:
        compile_model(model, loaded.args, loaded.kwargs, SETTINGS, output=Path(folder) / "artifact")
        return real_line(network.title, state_dict_bytes(model), measure(Path(folder) / "artifact"))


def main(
    work: Annotated[Path, typer.Option(help="Where rows are compiled to.")] = WORK,
    real: Annotated[bool, typer.Option("--real", help="Compile networks as wide as they are used.")] = False,
    only: Annotated[str, typer.Option(help="With --real: those whose name begins so.")] = "",
    write_docs: Annotated[bool, typer.Option("--write-docs", help="The table into docs/performance.md.")] = False,
) -> None:
    """Show what artifacts are made of."""
    if only and (write_docs or not real):
        raise typer.BadParameter("--only is for a look at some of --real")
    console = Console()
    if real:
        from bench.real import REAL

        lines = [REAL_HEAD]
        for network in REAL:
            if network.title.startswith(only):
                lines.append(compile_real(network))
                console.print(", ".join(lines[-1]), style="dim")
    else:
        lines = table(work)
    console.print(rich_table(lines, title="bytes"))
    if write_docs:
        write_section("sizes_real" if real else "sizes", markdown_table(lines[0], lines[1:]))


if __name__ == "__main__":
    typer.run(main)
