"""dycl compiles dynamic neural networks: `dycl.compile` a model, `dycl.load` an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dycl.api import CompiledModel, Method, compile, load

__all__ = ["CompiledModel", "Method", "compile", "load"]


def __getattr__(name: str) -> Any:
    # The public names are found when they are asked for: `import dycl` must be quick, it stands before every command,
    # and importing torch takes seconds. A deployed artifact is loaded where there is no torch at all.
    if name in __all__:
        import dycl.api

        return getattr(dycl.api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
