"""TVM's package: its name, the libraries of its runtime, and how it is imported."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import sys
from pathlib import Path

PACKAGE = "apache-tvm"
LIBRARIES = ("libtvm_runtime.so", "libtvm_runtime_extra.so")
_HOOKS = "TVM_DEVICE_BACKEND_AUTOLOAD"


def version() -> str:
    """Of the package that is installed."""
    return importlib.metadata.version(PACKAGE)


def library_folder() -> Path:
    """Where its libraries lie."""
    return Path(str(importlib.metadata.distribution(PACKAGE).locate_file("tvm"))) / "lib"


def import_tvm() -> None:
    """Import it, if nobody has yet, without its hooks for other devices.

    They raise errors that TVM swallows, and so does a look for a part of the runtime, unless it is loaded before. But
    the first error of TVM's reads the symbols of all libraries that the process has: with torch among them, a second.
    """
    if "tvm" in sys.modules:
        return
    import tvm_ffi  # noqa: F401

    for name in LIBRARIES:
        ctypes.CDLL(str(library_folder() / name), ctypes.RTLD_GLOBAL)
    before = os.environ.get(_HOOKS)
    os.environ[_HOOKS] = "0"
    try:
        import tvm  # noqa: F401
    finally:
        if before is None:
            del os.environ[_HOOKS]
        else:
            os.environ[_HOOKS] = before


def load_cuda_support() -> None:
    """What TVM's compiler asks for where it writes CUDA; left out above."""
    from tvm.backend import loader

    if not loader.is_loaded("cuda"):
        loader.load("cuda")
