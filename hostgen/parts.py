"""What a host's text takes from where: modules of ours, of which its artifact holds copies."""

from __future__ import annotations

import re

from dycl.hostgen import arguments, containers, results, scalars, schemas, support
from dycl.ir import kinds, numerics, printing, randomness
from dycl.ir.copies import copied_text

# Modules of ours that a host stands on, and those that it may stand on: its artifact holds a copy of them.
SUPPORT = {"arguments": arguments, "support": support}
SCALARS = {"scalars": scalars}  # for calls and states that have numbers and constants
CONTAINERS = {"containers": containers}  # for those that have lists, dicts and the like
OBJECTS = SCALARS | {"kinds": kinds, "schemas": schemas}  # for calls that pass objects
RESULTS = {"results": results}  # for what some hosts make of arrays
PARTS = {"numerics": numerics, "printing": printing, "randomness": randomness}

IMPORTED = {  # the names, in the order of the imports
    "arguments": frozenset({"Array", "Parameter", "Slot", "UNSET"}),
    "containers": frozenset({"Fields", "Items", "Keys", "ListOf", "SliceOf"}),
    "kinds": frozenset({"is_a"}),
    "results": frozenset({"array_of_objects", "as_tensor", "in_place", "RecordMapping"}),
    "runtime": frozenset({"Runtime"}),
    "scalars": frozenset({"Constant", "Number", "TorchConstant"}),
    "schemas": frozenset({"as_array", "Field", "Object", "Schema"}),
    "support": frozenset({"array_of", "Decide", "fetch", "Host", "size_of", "ToArray", "ToArrays"}),
}
OUR_NAMES = frozenset().union(*IMPORTED.values())


def find_parts(text: str) -> dict[str, str]:
    """The names and texts of the modules that a host's text stands on, but for the runtime."""
    wanted = SUPPORT | {name: part for name, part in PARTS.items() if f"from . import {name}\n" in text}
    parts = {"containers": CONTAINERS, "kinds": OBJECTS, "results": RESULTS, "scalars": SCALARS, "schemas": OBJECTS}
    for name in re.findall(r"^from \.(\w+) import ", text, re.MULTILINE):
        wanted |= parts.get(name, {})
    return {f"{name}.py": copied_text(part.__name__) for name, part in sorted(wanted.items())}
