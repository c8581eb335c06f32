"""The model a command names, live: its module imported, the instance built, weights and example inputs read."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import linecache
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from dycl.diagnostics import UNKNOWN, SourceRange, UsageError

DEFAULT_NAME = "build"
_SHOWN_KEYS = 8
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedCall:
    """An example call of a further method, and the function beside the model that samples more (if there is one)."""

    method: str
    args: tuple[object, ...]
    kwargs: dict[str, object]
    sample_inputs: Callable[[int], object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A live model with one example call, and the function beside it that samples more calls (if there is one)."""

    model: nn.Module
    args: tuple[object, ...]
    kwargs: dict[str, object] = field(default_factory=dict)
    sample_inputs: Callable[[int], object] | None = None
    method: str = "forward"
    others: tuple[LoadedCall, ...] = ()


def _bad_model(message: str, *, loc: SourceRange = UNKNOWN, hint: str = "") -> UsageError:
    return UsageError("DY501", loc, message, hint=hint)


def load_model(
    spec: str,
    *,
    inputs: Mapping[str, object] | None = None,
    weights: Path | None = None,
    methods: Sequence[str] = (),
) -> LoadedModel:
    """The model that `spec` names: `path.py`, `path.py:name` or `package.module:name`.

    `inputs` are the example's arguments by name (numpy arrays become tensors); without them `example_inputs` beside
    the model gives them. Of `methods` the first is what a call of the model means (`forward` where there are none).
    What further ones take stands in `inputs` under the method's name, or `example_inputs_METHOD` gives it.
    """
    method, *further = methods or ("forward",)
    module, name = _import_spec(spec)
    model = _find_model(module, name, spec)
    if weights is not None:
        load_weights(model, weights)
    given = {name: value for name, value in (inputs or {}).items() if name not in further}
    if given or (inputs is not None and not further):
        args, kwargs = bind_inputs(model, (), {key: as_tensors(value) for key, value in given.items()}, method)
    else:
        args, kwargs = _find_example(module, model, spec, method)
    others = tuple(_find_call(module, model, name, (inputs or {}).get(name)) for name in further)
    sampler = _find_sampler(module, "sample_inputs")
    return LoadedModel(model=model, args=args, kwargs=kwargs, sample_inputs=sampler, method=method, others=others)


# ---------------------------------------------------------------- modules


def _import_spec(spec: str) -> tuple[ModuleType, str]:
    place, colon, name = spec.rpartition(":")
    if not colon:
        place, name = spec, ""
    if place.endswith(".py") or os.sep in place:
        return _import_file(Path(place)), name or DEFAULT_NAME
    if not colon:
        raise _bad_model(f"{spec!r} is not a model", hint="give path.py, path.py:name or package.module:name")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does
    try:
        found = importlib.util.find_spec(place) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise _bad_model(f"there is no module {place!r}", hint="is its folder on the path, its package installed?")
    return run_user_code(f"{place} cannot be imported", lambda: importlib.import_module(place)), name or DEFAULT_NAME


_inserted: set[str] = set()  # folders put on sys.path for models loaded by file


def _import_file(path: Path) -> ModuleType:
    """The module of a file, executed anew; its folder (or its package's) is on the path, as for a script."""
    path = path.resolve()
    if not path.is_file():
        raise _bad_model(f"{path}: there is no such file")
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").is_file():
        root, parts = root.parent, [root.name, *parts]
    _enter_folder(str(root))
    name = _free_name(".".join(parts), path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    linecache.checkcache(str(path))
    sys.modules[name] = module
    loader = spec.loader
    try:
        run_user_code(f"{path} cannot be imported", lambda: loader.exec_module(module))
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _enter_folder(folder: str) -> None:
    """Put a model's folder on the path in place of the last model's, whose modules could have the same names."""
    for old in _inserted - {folder}:
        if old in sys.path:  # somebody may have put the path back as it was, or the model itself changed it
            sys.path.remove(old)
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(old + os.sep):
                del sys.modules[name]
    _inserted.intersection_update({folder})
    if folder not in sys.path:
        sys.path.insert(0, folder)
        _inserted.add(folder)


def _free_name(name: str, path: Path) -> str:
    """The module's natural name, or one with a digest where another module (`random.py`) has that name already."""
    taken = sys.modules.get(name)
    spec = taken.__spec__ if taken is not None else importlib.util.find_spec(name)
    if spec is None or spec.origin is None or Path(spec.origin).resolve() == path:
        return name
    return f"{name}_{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def run_user_code(what: str, call: Callable[[], _Result]) -> _Result:
    """The call's result; an exception of the user's code becomes DY501 with the user's part of the traceback."""
    try:
        return call()
    except UsageError:
        raise
    except Exception as error:
        raise _bad_model(f"{what}\n{_user_traceback(error)}", loc=_user_location(error)) from error


def _user_frames(error: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    ours = (__file__, "<frozen importlib")
    return [frame for frame in frames if not frame.filename.startswith(ours)]


def _user_traceback(error: Exception) -> str:
    shown = "".join(traceback.format_list(_user_frames(error)) + traceback.format_exception_only(error))
    return shown.rstrip()


def _user_location(error: Exception) -> SourceRange:
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return SourceRange(error.filename, error.lineno, max(0, (error.offset or 1) - 1))
    frames = _user_frames(error)
    return SourceRange(frames[-1].filename, frames[-1].lineno or 0) if frames else UNKNOWN


# ---------------------------------------------------------------- models


def _find_model(module: ModuleType, name: str, spec: str) -> nn.Module:
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise _bad_model(f"{module.__name__} has no {name!r}{_suggest(module)}", hint=f"name it: {spec}:NAME")
        found = getattr(found, part)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise _bad_model(f"{name} of {module.__name__} is a {type(found).__name__}, neither a module nor a callable")
    maker: Callable[[], object] = found
    made = run_user_code(f"{name}() of {module.__name__} raises", maker)
    if not isinstance(made, nn.Module):
        raise _bad_model(f"{name}() of {module.__name__} returns a {type(made).__name__}, not a torch.nn.Module")
    return made


def _suggest(module: ModuleType) -> str:
    own = [key for key, value in vars(module).items() if _is_candidate(value, module)]
    return f"; it has {', '.join(own)}" if own else ""


def _is_candidate(value: object, module: ModuleType) -> bool:
    if isinstance(value, nn.Module):
        return True
    is_local = getattr(value, "__module__", None) == module.__name__
    return is_local and (inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, nn.Module)))


def load_weights(model: nn.Module, path: Path) -> None:
    """Load every parameter and buffer from a safetensors file; DY501 lists the keys that differ."""
    if not path.is_file():
        raise _bad_model(f"{path}: there is no such file")
    try:
        loaded = load_file(path)
    except (OSError, SafetensorError) as error:
        raise _bad_model(f"{path} cannot be read: {error}") from error
    own = model.state_dict(keep_vars=True)
    present = {_storage(own[key]) for key in loaded if key in own}
    # Shared tensors are stored once: a name is there when another name of the same memory is.
    missing = [key for key in own if key not in loaded and _storage(own[key]) not in present]
    unexpected = [key for key in loaded if key not in own]
    misshaped = [
        f"{key} ({tuple(loaded[key].shape)} instead of {tuple(own[key].shape)})"
        for key in loaded
        if key in own and loaded[key].shape != own[key].shape
    ]
    differences = [
        f"{what}: {', '.join(keys[:_SHOWN_KEYS])}"
        + (f" and {len(keys) - _SHOWN_KEYS} more" * (len(keys) > _SHOWN_KEYS))
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshaped))
        if keys
    ]
    if differences:
        raise _bad_model(f"{path} does not fit {type(model).__name__}; " + "; ".join(differences))
    model.load_state_dict(loaded, strict=False)


def _list_keys(keys: list[str]) -> str:
    more = len(keys) - _SHOWN_KEYS
    return ", ".join(keys[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")


def _storage(tensor: torch.Tensor) -> tuple[object, ...]:
    if tensor.numel() == 0:
        return (id(tensor),)
    return (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())


# ---------------------------------------------------------------- inputs


def as_tensors(value: object) -> object:
    """The value with numpy arrays as tensors, in containers too."""
    match value:
        case np.ndarray():
            return torch.from_numpy(np.array(value))  # a copy: torch refuses read-only memory, and may write to it
        case list():
            return [as_tensors(item) for item in value]
        case tuple() if type(value) is tuple:
            return tuple(as_tensors(item) for item in value)
        case dict():
            return {key: as_tensors(item) for key, item in value.items()}
        case _:
            return value


def bind_inputs(
    model: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object], method: str = "forward"
) -> tuple[tuple[object, ...], dict[str, object]]:
    """The call with everything positional that may be; DY502 if the method does not take it."""
    if not callable(getattr(model, method, None)):
        raise UsageError("DY505", UNKNOWN, f"{type(model).__name__} has no method {method!r}")
    signature = inspect.signature(getattr(model, method))
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UsageError(
            "DY502",
            UNKNOWN,
            f"the inputs do not fit {type(model).__name__}.{method}{signature}: {error}",
            hint="inputs are named after the parameters",
        ) from error
    return bound.args, bound.kwargs


def split_call(example: object) -> tuple[tuple[object, ...], dict[str, object]]:
    """What `example_inputs` gave, as a call: a tuple holds arguments, a dict keywords, all else is one value."""
    match example:
        case tuple() | list():
            return tuple(example), {}
        case dict():
            return (), example
        case _:
            return (example,), {}


def _find_call(module: ModuleType, model: nn.Module, method: str, inputs: object) -> LoadedCall:
    """An example call of a further method; where nobody says what it takes, one without inputs."""
    name = f"example_inputs_{method}"
    if isinstance(inputs, Mapping):
        args, kwargs = bind_inputs(model, (), {str(k): as_tensors(value) for k, value in inputs.items()}, method)
    else:
        found = getattr(module, name, ())
        example = run_user_code(f"{name} of {module.__name__} raises", found) if callable(found) else found
        args, kwargs = bind_inputs(model, *split_call(example), method)
    sampler = _find_sampler(module, f"sample_inputs_{method}")
    return LoadedCall(method=method, args=args, kwargs=kwargs, sample_inputs=sampler)


def _find_example(
    module: ModuleType, model: nn.Module, spec: str, method: str
) -> tuple[tuple[object, ...], dict[str, object]]:
    if not hasattr(module, "example_inputs"):
        raise UsageError(
            "DY502",
            UNKNOWN,
            f"{spec} has no example_inputs beside it",
            hint="give --inputs FILE.npz or --input 'x=float32[1,3,32,32]'",
        )
    found = module.example_inputs
    example = run_user_code(f"example_inputs of {module.__name__} raises", found) if callable(found) else found
    return bind_inputs(model, *split_call(example), method)


def _find_sampler(module: ModuleType, name: str) -> Callable[[int], object] | None:
    sampler = getattr(module, name, None)
    if sampler is None:
        return None
    if not callable(sampler):
        raise UsageError("DY502", UNKNOWN, f"{name} of {module.__name__} is not a function of a seed")
    maker: Callable[[int], object] = sampler
    return maker
