"""All sections of the table, in the order of the page."""

from __future__ import annotations

from tests.conformance import (
    containers,
    control,
    dispatch,
    effects,
    functions,
    loops,
    memory,
    modules,
    objects,
    scalars,
    sizes,
    state,
    text,
)
from tests.conformance.table import Section

SECTIONS: list[Section] = [
    control.SECTION,
    loops.SECTION,
    scalars.SECTION,
    text.SECTION,
    containers.SECTION,
    dispatch.SECTION,
    functions.SECTION,
    objects.SECTION,
    modules.SECTION,
    sizes.SECTION,
    memory.SECTION,
    state.SECTION,
    effects.SECTION,
]
