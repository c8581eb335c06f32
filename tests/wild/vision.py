"""The operators of torchvision that a detector needs, written in Python: its compiled ones may not fit this torch.

Import this before torchvision. Where torchvision's own operators load, nothing is registered.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import types

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
)


def _area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Indices of the boxes that no better box covers, best first."""
    order = scores.argsort(descending=True, stable=True)
    areas = _area(dets)
    keep: list[int] = []
    suppressed = torch.zeros(len(order), dtype=torch.bool)
    for i in order.tolist():
        if suppressed[i]:
            continue
        keep.append(i)
        left = torch.maximum(dets[i, :2], dets[:, :2])
        right = torch.minimum(dets[i, 2:], dets[:, 2:])
        inter = (right - left).clamp(min=0).prod(1)
        suppressed |= (inter / (areas[i] + areas - inter)).double() > iou_threshold
    return torch.tensor(keep, dtype=torch.int64)


def roi_align(
    input: torch.Tensor,
    rois: torch.Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    """Bilinear samples in every cell of every region, averaged."""
    from torchvision.ops.roi_align import _roi_align

    plain = inspect.unwrap(_roi_align)  # it is compiled when it is called, which takes longer than all calls here
    return plain(input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned)  # type: ignore[no-any-return]


def _shape_of_roi_align(
    input: torch.Tensor, rois: torch.Tensor, spatial_scale: float, height: int, width: int, *sampling: object
) -> torch.Tensor:
    return input.new_empty((rois.size(0), input.size(1), height, width))


def register() -> None:
    """Make `import torchvision` work, with operators in Python if its own do not load."""
    if sys.modules.get("torchvision", torch) is None:  # conftest.py hides one whose operators do not load
        del sys.modules["torchvision"]
    if importlib.util.find_spec("torchvision") is None or "torchvision" in sys.modules:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        _KEPT.append(library)
        from_meta = _names_of_meta_registrations()
        for schema in _SCHEMAS:
            library.define(schema)
        for name in sorted(from_meta - {schema.partition("(")[0] for schema in _SCHEMAS}):
            library.define(f"{name}(Tensor input) -> Tensor")
        library.impl("nms", nms, "CPU")
        library.impl("roi_align", roi_align, "CPU")
        library.impl("roi_align", _shape_of_roi_align, "Meta")
        from torchvision import extension
        from torchvision.ops import roi_align as module

        extension._has_ops = sys.modules[module.__module__]._has_ops = _has_ops  # type: ignore[attr-defined]


def _has_ops() -> bool:
    return True


def _names_of_meta_registrations() -> set[str]:
    """The operators that torchvision gives shapes for when it is imported: they have to exist."""
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None and spec.submodule_search_locations
    text = open(f"{spec.submodule_search_locations[0]}/_meta_registrations.py").read()  # noqa: SIM115
    words = text.replace('register_fake("torchvision::', 'register_meta("').split('register_meta("')[1:]
    return {word.partition('"')[0] for word in words}


_KEPT: list[torch.library.Library] = []


def stub_requests() -> None:
    """facenet-pytorch imports `requests` to download weights; nothing here downloads anything."""
    if "requests" in sys.modules or importlib.util.find_spec("requests") is not None:
        return
    package, adapters = types.ModuleType("requests"), types.ModuleType("requests.adapters")
    adapters.HTTPAdapter = object  # type: ignore[attr-defined]
    package.adapters = adapters  # type: ignore[attr-defined]
    sys.modules |= {"requests": package, "requests.adapters": adapters}
