"""What a value of the caller's is, by name. Asked while a model is compiled and in artifacts: needs nothing."""

from __future__ import annotations


def is_a(value: object, name: str) -> bool:
    """Whether a value is of a class of this name, a tensor, or a tuple of a length."""
    if name == "tensor":
        return hasattr(value, "shape") and hasattr(value, "dtype")
    if name.startswith("tuple "):
        return type(value) is tuple and len(value) == int(name[6:])
    return type(value).__name__ == name
