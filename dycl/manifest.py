"""What `manifest.json` of an artifact says, as typed data, and its one canonical text.

The manifest describes the model and its build and nothing of the machine or the moment: no absolute path, no time.
This module never imports torch: `dycl run` reads manifests where torch is not installed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from dycl.diagnostics import UNKNOWN, UsageError

SCHEMA_VERSION = 1
GENERATOR = "dycl"
MANIFEST_NAME = "manifest.json"


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the model's source: the file's base name, so that the same source gives the same bytes anywhere."""

    file: str
    line: int
    function: str = ""


class BranchEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of the host: its block in the program, where it comes from and the source line."""

    site: int
    location: Location
    text: str


class PortEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An input or output of a subgraph; `scalar` names the Python type where the host passes a number."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    scalar: str = ""


class SubgraphEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One subgraph: its file and what the runtime binds to it, and the source that it came from.

    `engine` names the runtime that runs it, where the artifact has several, and `reason` says why it is this one.
    """

    file: str
    structure: int
    inputs: tuple[PortEntry, ...]
    outputs: tuple[PortEntry, ...]
    weights: tuple[str, ...]
    location: Location
    operations: int
    engine: str = ""
    reason: str = ""
    microseconds: dict[str, float] = msgspec.field(default_factory=dict)  # of a call, at best, with each runtime tried
    settings: dict[str, Any] = msgspec.field(default_factory=dict)  # the runtime's own


class WeightEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Where a weight lies in `weights.bin`: C order, little endian."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


class ParamEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter of the method; `spec` is its type with the fixed parts as literals, in a tree of JSON values."""

    name: str
    kind: str
    type: str
    optional: bool
    spec: Any


class MethodEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A further method of the model that can be called, on the same state."""

    name: str
    signature: str
    params: tuple[ParamEntry, ...]


class StateEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An attribute that the model writes between calls, and what it holds (one description for each entry)."""

    name: str
    entries: tuple[str, ...]


class TunableEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An attribute of the host that may be set at run time."""

    name: str
    type: str
    default: bool | int | float | str
    location: Location


class DimensionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A size of the inputs that each call chooses, within bounds."""

    name: str
    low: int
    high: int | None = None


class SourceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A source file the program was made from, by base name."""

    file: str
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known about an artifact without importing it."""

    schema_version: int
    generator: str
    name: str
    class_name: str
    method: str
    signature: str
    params: tuple[ParamEntry, ...]
    methods: tuple[MethodEntry, ...] = ()
    branches: tuple[BranchEntry, ...]
    subgraphs: dict[str, SubgraphEntry]
    weights: dict[str, WeightEntry]
    state: tuple[StateEntry, ...]
    tunables: tuple[TunableEntry, ...]
    dimensions: tuple[DimensionEntry, ...] = ()
    classes: tuple[str, ...]  # the model's classes that the host makes objects and exceptions of
    target: str
    device: str = "cpu"  # where its subgraphs run, as torch names devices
    opset: int = 0  # the version of ONNX's operators, where one was asked for
    requirements: tuple[str, ...]
    versions: dict[str, str]
    sources: tuple[SourceEntry, ...]
    files: dict[str, str]  # sha256 of every file but this one, by its path inside the artifact


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest's canonical bytes: sorted keys, a line for each entry, one newline at the end.

    Of a small network it would be a tenth of the artifact if each number had a line of its own.
    """
    parts: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(manifest, order="sorted"))
    return ("{\n" + ",\n".join(f"{_text(name)}: {_lines(part)}" for name, part in parts.items()) + "\n}\n").encode()


def _lines(part: object) -> str:
    """A part of the manifest as text, each of its entries on a line."""
    if isinstance(part, dict) and part:
        return "{\n" + ",\n".join(f"  {_text(name)}: {_text(entry)}" for name, entry in part.items()) + "\n}"
    if isinstance(part, list) and part:
        return "[\n" + ",\n".join(f"  {_text(entry)}" for entry in part) + "\n]"
    return _text(part)


def _text(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def decode_manifest(data: bytes, origin: str) -> Manifest:
    """The manifest in these bytes; an unknown schema version or a wrong field is DY404."""
    try:
        head = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise UsageError("DY404", UNKNOWN, f"{origin} is not JSON: {error}", hint="compile the model again") from error
    if not isinstance(head, dict) or head.get("generator") != GENERATOR:
        raise UsageError("DY404", UNKNOWN, f"{origin} is not the manifest of an artifact of dycl")
    version = head.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UsageError(
            "DY404",
            UNKNOWN,
            f"{origin} has schema version {version!r}; this dycl reads version {SCHEMA_VERSION}",
            hint="compile the model again, or install the version of dycl that wrote the artifact",
        )
    try:
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.ValidationError as error:
        raise UsageError("DY404", UNKNOWN, f"{origin}: {error}", hint="compile the model again") from error


def hash_file(path: Path) -> str:
    """The sha256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
