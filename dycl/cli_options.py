"""What several commands take: their arguments and options, with the help that each shows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Rng(StrEnum):
    """What becomes of random operations."""

    REFUSE = "refuse"
    HOST = "host"


ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="path.py, path.py:name or package.module:name.")]
InputsOption = Annotated[Path | None, typer.Option("--inputs", metavar="FILE", help=".npz or .safetensors; by name.")]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="SPEC",
        help="'x=float32[1,3,32,32]' (random), 'ids=int64[1,16]:0..999' (random; 0..9 if no range) or 'k=3'.",
    ),
]
WeightsOption = Annotated[Path | None, typer.Option("--weights", metavar="FILE", help="safetensors, loaded strictly.")]
TunableOption = Annotated[
    list[str] | None, typer.Option("--tunable", metavar="ATTR", help="An attribute that stays settable on the host.")
]
RngOption = Annotated[
    Rng, typer.Option("--rng", help="Random operations: an error, or drawn by the host as torch's CPU generator does.")
]
DynamicOption = Annotated[
    list[str] | None,
    typer.Option("--dynamic", metavar="SPEC", help="A size that each call chooses: 'x:0=batch' or 'x:0=batch[1:64]'."),
]
DynamicArgOption = Annotated[
    list[str] | None,
    typer.Option(
        "--dynamic-arg",
        metavar="NAME",
        help="A number or text that each call gives, others are constants; of an integer, its range: 'n[0:8]'.",
    ),
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--method", metavar="NAME", help="May be given again: the first is the model's call, all share one state."
    ),
]
ProfileOption = Annotated[
    int,
    typer.Option(
        "--profile-inputs",
        metavar="N",
        min=0,
        help="Learn from N sampled calls which ways are usual, and speed up those.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="NAME", help="cpu: on the processor what was compiled for a GPU.")
]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="Show every stage, and tracebacks of bugs.")]
