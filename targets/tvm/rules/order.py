"""The schedule rules in the order in which they are tried: the first that takes a function schedules it."""

from __future__ import annotations

from typing import Any

from dycl.targets.tvm.processor import Processor


def apply_rules(module: Any, processor: Processor) -> Any:
    """The module, each of its functions scheduled."""
    return module
