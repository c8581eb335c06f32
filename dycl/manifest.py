"""What `manifest.json` of an artifact says, as typed data, and its one canonical text.

The manifest describes the model and its build and nothing of the machine or the moment: no absolute path, no time.
In the text everything stands once: `dycl.ir.contents` says how, and takes it apart again. Here each subgraph has all
that holds for it. This module never imports torch: `dycl run` reads manifests where torch is not installed.
"""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import msgspec

from dycl.diagnostics import UNKNOWN, UsageError
from dycl.ir.contents import unpack

SCHEMA_VERSION = 2
GENERATOR = "dycl"
MANIFEST_NAME = "manifest.json"


class Location(msgspec.Struct, frozen=True, array_like=True):
    """A line of the model's source: the file's base name, so that the same source gives the same bytes anywhere."""

    file: str
    line: int
    function: str = ""


class BranchEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of the source: the blocks of the program in which the host takes it, its place and its line."""

    sites: tuple[int, ...]
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
    """A parameter of the method; `spec` is its type with the fixed parts as literals, in a tree of JSON values.

    A number that each call chooses has `low` and `high` there, as far as it has bounds.
    """

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
    """The manifest's canonical bytes: sorted keys, a line for each entry, one newline at the end."""
    parts = pack(msgspec.to_builtins(manifest))
    lines = (f"{_text(name)}: {_lines(part)}" for name, part in sorted(parts.items()))
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _lines(part: object) -> str:
    """A part of the manifest as text, each of its entries on a line."""
    if isinstance(part, dict) and part:
        return "{\n" + ",\n".join(f"  {_text(name)}: {_text(entry)}" for name, entry in sorted(part.items())) + "\n}"
    if isinstance(part, list | tuple) and part:
        return "[\n" + ",\n".join(f"  {_text(entry)}" for entry in part) + "\n]"
    return _text(part)


def _text(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def pack(manifest: dict[str, Any]) -> dict[str, Any]:
    """What `unpack` takes apart: everything once."""
    modules: dict[str, list[str]] = {}
    for name in manifest["weights"]:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    rows = {name: _weight_row(name, weight) for name, weight in manifest["weights"].items()}
    numbers = {name: number for number, name in enumerate(itertools.chain(*modules.values()))}
    entries = {name: _number_weights(entry, numbers) for name, entry in manifest["subgraphs"].items()}
    settings = _common([entry["settings"] for entry in entries.values()])
    groups: dict[int, dict[str, dict[str, Any]]] = {}
    for name, entry in entries.items():
        groups.setdefault(entry["structure"], {})[name] = entry
    structures, subgraphs = {}, {}
    for structure, group in groups.items():
        shared = _common(list(group.values()))
        shared["settings"] = _common([entry["settings"] for entry in group.values()])
        structures[str(structure)] = _without(shared, {"structure": structure}, settings)
        for name, entry in group.items():
            subgraphs[name] = {"structure": structure, **_without(entry, shared, shared["settings"])}
    weights = [[module, *(rows[name] for name in names)] for module, names in modules.items()]
    return {**manifest, "settings": settings, "structures": structures, "subgraphs": subgraphs, "weights": weights}


def _weight_row(name: str, weight: dict[str, Any]) -> list[Any]:
    dtype = () if weight["dtype"] == "float32" else (weight["dtype"],)
    return [name.rpartition(".")[2], weight["offset"], weight["shape"], *dtype]


def _number_weights(entry: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    ports = {kind: [list(port.values()) for port in entry[kind]] for kind in ("inputs", "outputs")}
    weights = [numbers[weight] for weight in entry["weights"]]
    return {**entry, **ports, "weights": weights, "settings": entry.get("settings", {})}


def _common(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """What all of them say alike; compared as text, since True is 1 to Python."""
    first = entries[0] if entries else {}
    texts = {key: _text(value) for key, value in first.items()}
    return {key: first[key] for key, text in texts.items() if all(key in e and _text(e[key]) == text for e in entries)}


def _without(entry: dict[str, Any], known: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """An entry without what is known, nor those of its settings that are."""
    own = {key: value for key, value in entry.items() if key != "settings" and key not in known}
    left = {key: value for key, value in entry["settings"].items() if key not in settings}
    return {**own, "settings": left} if left else own


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
        return msgspec.convert(unpack(head), Manifest)
    except (msgspec.ValidationError, *_MALFORMED) as error:
        message = f"{origin} has a wrong part: {error!r}"
        raise UsageError("DY404", UNKNOWN, message, hint="compile the model again") from error


# What `unpack` raises, which runs where msgspec is not, for parts that are missing or of another form.
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError)


def hash_file(path: Path) -> str:
    """The sha256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
