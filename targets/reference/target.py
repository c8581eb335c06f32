"""onnx's reference evaluator as a target, to find out where a wrong result comes from."""

from __future__ import annotations

from dycl.targets.base import Target
from dycl.targets.onnx.target import OnnxTarget
from dycl.targets.reference.engine import ReferenceEngine

TARGET: Target = OnnxTarget(ReferenceEngine(), is_candidate=False)
