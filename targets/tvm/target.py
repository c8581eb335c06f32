"""TVM on the CPU as a target; what it cannot take is left to ONNX Runtime, subgraph by subgraph, unless `strict`."""

from __future__ import annotations

from dycl.targets.base import Target
from dycl.targets.onnx.target import OnnxTarget
from dycl.targets.onnxruntime.engine import OnnxRuntimeEngine
from dycl.targets.tvm.engine import TvmEngine

TARGET: Target = OnnxTarget(TvmEngine(), OnnxRuntimeEngine())
