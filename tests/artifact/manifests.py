"""A small manifest that the tests of artifacts share."""

from __future__ import annotations

from typing import Any

from dycl.manifest import GENERATOR, SCHEMA_VERSION, Manifest


def toy_manifest(**changes: Any) -> Manifest:
    """The manifest of an artifact of nothing, with other parts where they are given."""
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "generator": GENERATOR,
        "name": "toy",
        "class_name": "Toy",
        "method": "forward",
        "signature": "forward()",
        "params": (),
        "branches": (),
        "subgraphs": {},
        "weights": {},
        "state": (),
        "tunables": (),
        "classes": (),
        "target": "onnxruntime",
        "requirements": (),
        "versions": {"dycl": "0"},
        "sources": (),
        "files": {},
    }
    return Manifest(**{**values, **changes})
