"""Fewer garbage collections where very many objects are made that live on: each one goes through all of them.

A compile holds millions of objects (states, operations, expressions); CPython's thresholds are for thousands. Reference
counts free most of what the compiler drops, so little waits for the collector.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_OBJECTS = 50_000  # before the youngest are looked through; CPython's own number is 700


@contextmanager
def seldom_collected() -> Iterator[None]:
    """While it is entered, the collector runs seldom; the process's own thresholds hold again behind it."""
    before = gc.get_threshold()
    if not before[0]:  # whoever switched the collector off knows why
        yield
        return
    gc.set_threshold(max(before[0], _NEW_OBJECTS), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
