"""Inputs as a person gives them: `.npz` and `.safetensors` files, and `x=float32[1,3,32,32]` on the command line.

Always numpy arrays or Python literals: this module never imports torch, so that `dycl run` works without it.
"""

from __future__ import annotations

import ast
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from dycl.diagnostics import UNKNOWN, UsageError
from dycl.manifest import ParamEntry

INTEGER_RANGE = (0, 9)  # of random integers when `:LOW..HIGH` does not say otherwise; both ends included

_RANDOM = re.compile(r"(?P<dtype>[a-z]+\d*)\[(?P<shape>[\d,\s]*)\](?::(?P<low>-?\d+)\.\.(?P<high>-?\d+))?")


def _bad(message: str, hint: str = "") -> UsageError:
    return UsageError("DY502", UNKNOWN, message, hint=hint)


def read_inputs(path: Path) -> dict[str, object]:
    """The arrays of a file by their names; `x.0`, `x.1` make a list `x`, `x.mask` makes a dict `x`."""
    if path.suffix not in (".npz", ".safetensors"):
        raise _bad(f"{path}: inputs are read from .npz or .safetensors files")
    if not path.is_file():
        raise _bad(f"{path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            return nest_names(load_file(path), str(path))
        with np.load(path, allow_pickle=False) as file:
            return nest_names({name: file[name] for name in file.files}, str(path))
    except (OSError, ValueError, zipfile.BadZipFile, SafetensorError) as error:
        raise _bad(f"{path} cannot be read: {error}") from error


def write_outputs(path: Path, outputs: Mapping[str, object]) -> None:
    """Write named arrays and numbers to an `.npz` file, always in the same bytes for the same content."""
    if path.suffix != ".npz":
        raise _bad(f"{path}: outputs are written to .npz files")
    try:
        np.savez(path, **{name: np.asarray(value) for name, value in outputs.items()})  # type: ignore[arg-type]
    except OSError as error:
        raise UsageError("DY503", UNKNOWN, f"{path} cannot be written: {error.strerror}") from error


def nest_names(flat: Mapping[str, object], origin: str) -> dict[str, object]:
    """Dotted names as nested containers: components that count from 0 make a list, others a dict."""
    tree: dict[str, object] = {}
    for name, value in flat.items():
        *folders, last = name.split(".")
        node = tree
        for folder in folders:
            inner = node.setdefault(folder, {})
            if not isinstance(inner, dict):
                raise _bad(f"{origin}: {name} lies inside an array")
            node = inner
        if last in node:
            raise _bad(f"{origin}: {name} is given twice")
        node[last] = value
    return {name: _as_container(value) for name, value in tree.items()}


def _as_container(node: object) -> object:
    if not isinstance(node, dict):
        return node
    if set(node) == {str(index) for index in range(len(node))}:
        return [_as_container(node[str(index)]) for index in range(len(node))]
    return {name: _as_container(value) for name, value in node.items()}


def flatten_names(name: str, value: object) -> dict[str, object]:
    """The leaves of a nested value by dotted names: the inverse of `nest_names`; None has no leaf."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        pairs = [(str(key), item) for key, item in value.items()]
    elif hasattr(value, "__dataclass_fields__"):
        pairs = [(key, getattr(value, key)) for key in value.__dataclass_fields__]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        pairs = list(zip(value._fields, value, strict=True))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        pairs = [(str(index), item) for index, item in enumerate(value)]
    else:
        return {name: value}
    leaves: dict[str, object] = {}
    for key, item in pairs:
        leaves.update(flatten_names(f"{name}.{key}", item))
    return leaves


def parse_inputs(texts: Sequence[str]) -> dict[str, object]:
    """The values that `--input` options describe, by name."""
    values: dict[str, object] = {}
    for text in texts:
        name, equals, description = text.partition("=")
        if not equals or not name.strip():
            raise _bad(f"--input {text!r} is not NAME=DTYPE[SHAPE] or NAME=LITERAL", "as in 'x=float32[1,3,32,32]'")
        values[name.strip()] = _parse_value(name.strip(), description.strip())
    return nest_names(values, "--input")


def _parse_value(name: str, description: str) -> object:
    match = _RANDOM.fullmatch(description)
    if match is not None:
        return _random_array(name, match)
    try:
        return ast.literal_eval(description)
    except (ValueError, SyntaxError) as error:
        raise _bad(
            f"--input {name}: {description!r} is neither DTYPE[SHAPE] nor a Python literal",
            f"as in '{name}=float32[1,3,32,32]', '{name}=int64[1,16]:0..999' or '{name}=3'",
        ) from error


def _random_array(name: str, match: re.Match[str]) -> np.ndarray:
    try:
        dtype = np.dtype(match["dtype"])
    except TypeError as error:
        raise _bad(f"--input {name}: {match['dtype']} is not a dtype of numpy") from error
    shape = tuple(int(size) for size in match["shape"].split(",") if size.strip())
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    low, high = (int(match["low"]), int(match["high"])) if match["low"] else INTEGER_RANGE
    if low > high:
        raise _bad(f"--input {name}: the range {low}..{high} is empty")
    match dtype.kind:
        case "f" if match["low"]:
            return generator.uniform(low, high, shape).astype(dtype)
        case "f":
            return generator.standard_normal(shape).astype(dtype)
        case "b":
            return generator.integers(0, 2, shape).astype(dtype)
        case "i" | "u":
            return generator.integers(low, high, shape, endpoint=True).astype(dtype)
        case _:
            raise _bad(
                f"--input {name}: random values of dtype {dtype} are not made", "give an .npz file with --inputs"
            )


# ---------------------------------------------------------------- to the parameters of an artifact


def fit_inputs(params: Sequence[ParamEntry], values: Mapping[str, object]) -> dict[str, object]:
    """The arguments of a call: files know arrays and names only, the parameters say what must be a number or a tuple.

    A parameter that is fixed in the artifact may be left out.
    """
    unknown = [name for name in values if name not in {param.name for param in params}]
    if unknown:
        known = ", ".join(f"{param.name}: {param.type}" for param in params) or "nothing"
        raise _bad(f"the model takes no {', '.join(unknown)}", f"it takes {known}")
    fitted = {}
    for param in params:
        if param.name in values:
            fitted[param.name] = _fit(param.spec, values[param.name])
        elif not param.optional:
            fitted[param.name] = _fixed(param.spec, param)
    return fitted


def _fit(spec: Mapping[str, Any], value: object) -> object:
    if spec.get("leaf") == "list" and isinstance(value, np.ndarray):
        return value.tolist() if "[" not in spec["type"].removeprefix("list[") else list(value)
    if spec.get("leaf") == "scalar" or "literal" in spec:
        return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if "sequence" in spec and isinstance(value, list | tuple) and len(value) == len(spec["items"]):
        items = [_fit(item, part) for item, part in zip(spec["items"], value, strict=True)]
        return items if spec["sequence"] == "list" else tuple(items)
    if "mapping" in spec and isinstance(value, Mapping):
        # Names in files are text: a key that is a number in the model is found by its text. The order is the model's.
        given = {str(key): part for key, part in value.items()}
        if set(given) == {str(key) for key, _ in spec["mapping"]}:
            return {key: _fit(item, given[str(key)]) for key, item in spec["mapping"]}
    return value


def _fixed(spec: Mapping[str, Any], param: ParamEntry) -> object:
    """The only value that a parameter without run-time parts can have."""
    if "literal" in spec:
        return spec["literal"]
    if "sequence" in spec:
        items = [_fixed(item, param) for item in spec["items"]]
        return items if spec["sequence"] == "list" else tuple(items)
    if "mapping" in spec:
        return {key: _fixed(item, param) for key, item in spec["mapping"]}
    raise _bad(f"the input {param.name} is missing", f"the model takes {param.name}: {param.type}")
