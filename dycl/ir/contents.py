"""What `manifest.json` says of subgraphs and weights, in full. Copied into artifacts: needs the standard library alone.

There everything stands once. `structures` has what all subgraphs of a structure have in common, `settings` the settings
that all subgraphs have. A weight is a row in that of its module, `[name, offset, shape]`, and its type where that is
not float32; subgraphs name weights by their numbers. An input or output is a row too, `[name, type, shape]`, and the
Python type where the host passes a number. `dycl.manifest` writes it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def read_contents(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest in a directory, unpacked."""
    return unpack(json.loads((Path(directory) / "manifest.json").read_text(encoding="utf-8")))


def unpack(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with all that holds for a subgraph in the subgraph's own entry, and each weight by its name."""
    weights = {
        f"{module}.{name}" if module else name: {"dtype": (*dtype, "float32")[0], "shape": shape, "offset": offset}
        for module, *rows in manifest["weights"]
        for name, offset, shape, *dtype in rows
    }
    names = list(weights)
    subgraphs = {}
    for name, own in manifest["subgraphs"].items():
        shared = manifest["structures"][str(own["structure"])]
        entry = subgraphs[name] = {**shared, **own}
        entry["settings"] = manifest["settings"] | shared.get("settings", {}) | own.get("settings", {})
        entry["weights"] = [names[number] for number in entry["weights"]]
        for ports in ("inputs", "outputs"):
            entry[ports] = [dict(zip(("name", "dtype", "shape", "scalar"), row, strict=False)) for row in entry[ports]]
    return {**manifest, "subgraphs": subgraphs, "weights": weights}
