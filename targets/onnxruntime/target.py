"""ONNX Runtime on the CPU as a target."""

from __future__ import annotations

from dycl.targets.base import Target
from dycl.targets.onnx.target import OnnxTarget
from dycl.targets.onnxruntime.engine import OnnxRuntimeEngine

TARGET: Target = OnnxTarget(OnnxRuntimeEngine())
