"""What is told of functions of torch by their names: metadata, writes, sizes among the arguments."""

from __future__ import annotations

from typing import Any

import torch

# Questions about a tensor that its metadata answers: nothing is recorded.
METADATA = frozenset(
    {
        "size",
        "dim",
        "numel",
        "nelement",
        "ndimension",
        "stride",
        "storage_offset",
        "is_contiguous",
        "is_floating_point",
        "is_complex",
        "is_signed",
        "is_inference",
        "is_conj",
        "is_neg",
        "is_same_size",
        "element_size",
        "untyped_storage",
        "get_device",
        "__len__",
        "result_type",
        "can_cast",
        "promote_types",
        "is_tensor",
        "is_grad_enabled",
        "is_inference_mode_enabled",
        "_has_compatible_shallow_copy_type",
        "broadcast_shapes",
        "__hash__",
        "__repr__",
        "__format__",
        "__dir__",
        "requires_grad_",
        "retain_grad",
        "get_default_dtype",
        "is_autocast_enabled",
        "is_autocast_cpu_enabled",
        "get_autocast_dtype",
        "finfo",
        "iinfo",
    }
)
NOT_METADATA_GETTERS = frozenset({"T", "mT", "H", "mH", "real", "imag", "data"})
METADATA_WRITERS = frozenset(
    {
        "resize_",
        "resize_as_",
        "set_",
        "squeeze_",
        "unsqueeze_",
        "t_",
        "transpose_",
        "swapaxes_",
        "swapdims_",
        "as_strided_",
        "detach_",
        "rename_",
    }
)
WRONG_RULES = frozenset({"_pack_padded_sequence", "_pad_packed_sequence"})  # what is documented has a model
SUBSCRIPTS = frozenset({"__getitem__", "__setitem__"})
COUNTING = frozenset({"nonzero", "argwhere", "masked_select"})
# Calls whose arguments beside the tensor itself are sizes.
TAKES_SIZES = frozenset(
    {
        "view",
        "reshape",
        "expand",
        "repeat",
        "unflatten",
        "narrow",
        "new_zeros",
        "new_ones",
        "new_empty",
        "zeros",
        "ones",
        "empty",
        "eye",
        "pad",
        "tile",
    }
)
# What `Tensor.type` calls the types of tensors on the CPU.
TENSOR_CLASSES: dict[torch.dtype, str] = {
    torch.float32: "FloatTensor",
    torch.float64: "DoubleTensor",
    torch.float16: "HalfTensor",
    torch.bfloat16: "BFloat16Tensor",
    torch.uint8: "ByteTensor",
    torch.int8: "CharTensor",
    torch.int16: "ShortTensor",
    torch.int32: "IntTensor",
    torch.int64: "LongTensor",
    torch.bool: "BoolTensor",
}


def writes_by_name(func: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a function may write into its arguments, by its name alone."""
    name = getattr(func, "__name__", "")
    is_in_place = name.endswith("_") and not name.endswith("__")
    is_assigned = name in ("__setitem__", "__set__", "copy_") or (name.startswith("__i") and name != "__invert__")
    return is_in_place or is_assigned or bool({"out", "inplace"} & kwargs.keys())


def getter_name(func: Any) -> str:
    owner = getattr(func, "__self__", None)
    return getattr(owner, "__name__", "")
