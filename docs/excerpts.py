"""Puts real output of the compiler into the documentation: `python docs/excerpts.py`, `--check` only compares.

A page marks a place with `<!-- excerpt STAGE -->` or `<!-- excerpt STAGE from "TEXT" to "TEXT" -->` before a fenced
block; the block is filled with the stage's lines, from the first that begins with the one text to the next that begins
with the other. A stage is a name of `stage_texts`, or a file under docs/.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import onnx

from dycl.api import compile as compile_model
from dycl.frontend.code import Code, ForIter, JumpIf
from dycl.frontend.lower import lower_function
from dycl.loading import LoadedModel, load_model
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.specializer import specialize

DOCS = Path(__file__).parent
EXAMPLE = DOCS / "examples" / "settle.py"
_MARK = re.compile(
    r'(<!-- excerpt (?P<stage>\S+)(?: from "(?P<first>[^"]*)")?(?: to "(?P<last>[^"]*)")? -->\n```\w*\n)'
    r"(?P<body>.*?)(```\n)",
    re.DOTALL,
)


def pages() -> list[Path]:
    """The pages that hold excerpts."""
    return sorted(path for path in DOCS.rglob("*.md") if "<!-- excerpt" in path.read_text(encoding="utf-8"))


def updated(page: str, stages: Mapping[str, str]) -> str:
    """The page with every excerpt as it is now."""

    def fill(found: re.Match[str]) -> str:
        return found[1] + cut(stages, found["stage"], found["first"], found["last"]) + found[6]

    return _MARK.sub(fill, page)


def cut(stages: Mapping[str, str], stage: str, first: str | None, last: str | None) -> str:
    """The wanted lines of a stage; an error where they are not to be found."""
    text = stages[stage] if stage in stages else (DOCS / stage).read_text(encoding="utf-8")
    lines = text.splitlines()
    bare = [line.lstrip(" >") for line in lines]
    start = 0 if first is None else next((i for i, line in enumerate(bare) if line.startswith(first)), -1)
    end = len(lines) - 1 if last is None else next((i for i in range(start, len(bare)) if bare[i].startswith(last)), -1)
    if start < 0 or end < 0:
        raise LookupError(f"stage {stage}: there are no lines from {first!r} to {last!r}")
    return textwrap.dedent("\n".join(lines[start : end + 1])) + "\n"


# ---------------------------------------------------------------- stages


def stage_texts() -> dict[str, str]:
    """What each stage makes of the example."""
    loaded = load_model(str(EXAMPLE))
    texts = {"lowered": print_code(lower_function(type(loaded.model).forward)), "attempts": restarts(loaded)}
    with tempfile.TemporaryDirectory() as folder:
        dump, place = Path(folder, "dump"), Path(folder, "settle")
        with mock.patch.dict(os.environ, {"DYCL_DUMP": str(dump)}):
            compiled = compile_model(loaded.model, loaded.args, sample_inputs=loaded.sample_inputs, output=place)
        for path in dump.iterdir():
            name = path.stem[3:] + (".diff" if path.suffix == ".diff" else "")
            texts[name] = path.read_text(encoding="utf-8").replace(str(EXAMPLE), EXAMPLE.name)
        compiled(*loaded.args)
        texts["decisions"] = "\n".join(f"{d.site} {d.taken!s:5} {d.location}  {d.text}" for d in compiled.decisions)
        texts["files"] = "\n".join(sorted(str(p.relative_to(place)) for p in place.rglob("*") if p.is_file()))
        texts["onnx"] = print_onnx(place / "subgraphs.zip", "01_block0_gate.onnx")
        text = (place / "manifest.json").read_text(encoding="utf-8")
        manifest = json.loads(text)
        wanted = ('"1":', '"01_block0_gate":', '["blocks.0"')  # a structure, a subgraph of it, weights of that
        lines = [line.strip().removesuffix(",") for line in text.splitlines()]
        texts["entries"] = "\n".join(line for line in lines if line.startswith(wanted))
        texts["manifest"] = json.dumps({key: manifest[key] for key in ("signature", "state", "requirements")}, indent=1)
    return texts


def print_code(code: Code) -> str:
    """Lowered code as text: a join is marked `>` and followed by the registers that live there."""
    lines = []
    for index, instruction in enumerate(code.instructions):
        fields = {f.name: getattr(instruction, f.name) for f in dataclasses.fields(instruction) if f.name != "loc"}
        text = " ".join(f"{name}={_field(value)}" for name, value in fields.items())
        live = f"  ; live: {' '.join(sorted(code.live[index]))}" if code.joins[index] else ""
        lines.append(f"{'>' if code.joins[index] else ' '}{index:3} {type(instruction).__name__:<9} {text}{live}")
    targets = sum(isinstance(instruction, ForIter | JumpIf) for instruction in code.instructions)
    return "\n".join([*lines, f"; {len(lines)} instructions, {targets} of them branch"])


def _field(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(getattr(item, 'star', '') + item.src for item in value)})"
    return getattr(value, "value", value) if not isinstance(value, str) else value


def restarts(loaded: LoadedModel) -> str:
    """Why the abstract machine began again, attempt by attempt."""
    reasons: list[str] = []

    original = Restart.__init__

    def remember(self: Restart, reason: str) -> None:
        reasons.append(reason)
        original(self, reason)

    with mock.patch.object(Restart, "__init__", remember):
        made = specialize(loaded.model, loaded.args)
    lines = [f"attempt {number}: begins again, {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([*lines, f"attempt {made.attempts}: done, {len(made.program.blocks)} blocks"])


def print_onnx(archive: Path, name: str) -> str:
    """The nodes of a small ONNX graph."""
    with zipfile.ZipFile(archive) as members:
        graph = onnx.load_from_string(members.read(name)).graph
    ends = (", ".join(value.name for value in values) for values in (graph.input, graph.output))
    stored = [f"{item.name} {list(item.dims)}: external, {len(item.raw_data)} bytes here" for item in graph.initializer]
    nodes = [f"{node.name}: {', '.join(node.output)} = {node.op_type}({', '.join(node.input)})" for node in graph.node]
    return "\n".join([f"{' -> '.join(ends)}", *stored, *nodes])


def main(arguments: list[str]) -> int:
    """Rewrite the pages, or with `--check` say which are out of date."""
    stages = stage_texts()
    stale = []
    for path in pages():
        old = path.read_text(encoding="utf-8")
        new = updated(old, stages)
        if new != old:
            stale.append(path)
            if "--check" not in arguments:
                path.write_text(new, encoding="utf-8")
    for path in stale:
        print(("out of date: " if "--check" in arguments else "rewritten: ") + str(path.relative_to(DOCS)))
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
