"""A loaded artifact as a callable: arrays and tensors in, the model's own nesting and classes out.

This module never imports torch: where tensors are passed, somebody else has.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dycl.artifact import LoadedArtifact


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of a call: where it stands, what was asked, and whether the condition held."""

    site: int
    taken: bool
    location: str
    text: str


class HostModel:
    """The host of an artifact, called as the model is called.

    Results are arrays, or tensors if a tensor was passed. Objects and exceptions are of the model's own classes where
    these are known: `classes` holds them by `module:qualname`.
    """

    def __init__(self, artifact: LoadedArtifact, classes: Mapping[str, type]) -> None:
        self.artifact = artifact
        host: Any = artifact.host
        self._host = host
        self._own_module: str = type(artifact.host).__module__
        schemas = host.SCHEMAS.values()
        self._objects = frozenset(schema.class_name for schema in schemas if schema.kind == "instance")
        self._classes = {name.split(":")[-1].split(".")[-1]: found for name, found in classes.items()}

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Call the compiled method."""
        return self.call(*args, **kwargs)

    def call(self, *args: object, **kwargs: object) -> object:
        """Call the compiled model."""
        return self.call_method("", *args, **kwargs)

    def call_method(self, method: str, /, *args: object, **kwargs: object) -> object:
        """Call a compiled method (an empty name: the model's own call); its exceptions are those of the model."""
        passed = _Conversion()
        given = [map_values(arg, passed.to_numpy, is_leaf=self._is_object) for arg in args]
        named = {name: map_values(arg, passed.to_numpy, is_leaf=self._is_object) for name, arg in kwargs.items()}
        pairs = list(_pairs((*args, *kwargs.values()), (*given, *named.values()))) if self._host.WRITTEN else []
        _check_apart(pairs)
        try:
            result = (self._host.method(method) if method else self._host)(*given, **named)
        except Exception as error:
            original = self._classes.get(type(error).__name__)
            if type(error).__module__ != self._own_module or original is None:
                raise
            raise original(*error.args) from error
        finally:
            passed.seen |= self._host.has_tensors
            if passed.seen:
                self._convert_written()
            if pairs:
                self._give_back(pairs, partial(self._given_out, has_tensors=passed.seen))
        return self._given_out(result, has_tensors=passed.seen)

    def _given_out(self, value: object, *, has_tensors: bool) -> object:
        """What the host has made, as the caller knows such things."""
        change = self._to_torch if has_tensors else lambda leaf: leaf
        return map_values(value, change, self._restore, is_leaf=self._is_object)

    def _give_back(self, pairs: list[tuple[Any, Any]], given_out: Callable[[object], object]) -> None:
        """Write to the caller's lists, dicts and tensors what the host has written to those it was given."""
        originals = {id(handed): original for original, handed in pairs}

        def original(item: object) -> object:
            return originals[id(item)] if id(item) in originals else given_out(item)

        for mine, handed in pairs:
            if isinstance(handed, list):
                mine[:] = [original(item) for item in handed]
            elif isinstance(handed, dict):
                values = {key: original(item) for key, item in handed.items()}
                if list(mine) != list(values)[: len(mine)]:
                    mine.clear()
                mine.update(values)
            elif isinstance(handed, np.ndarray) and mine is not handed and mine.data_ptr() != handed.ctypes.data:
                mine.copy_(sys.modules["torch"].from_numpy(handed))  # of another device: the host had a copy

    def _is_object(self, value: object) -> bool:
        """Whether a value is an object of the caller's that the host reads, and writes, where it is."""
        return type(value).__name__ in self._objects

    def _convert_written(self) -> None:
        """What the host has hung on objects of the caller's, as tensors."""
        for target, name in self._host.written:
            setattr(target, name, map_values(getattr(target, name), self._to_torch, is_leaf=self._is_object))

    def _to_torch(self, leaf: Any) -> Any:
        """What stands for a tensor as one; what is an array in the source stays an array."""
        # A result may be memory of the artifact (a weight): what torch gets is writable and its own.
        is_tensor = isinstance(leaf, np.ndarray) and not self._host.is_array(leaf)
        return sys.modules["torch"].from_numpy(np.array(leaf)) if is_tensor else leaf

    def _restore(self, record: Any) -> Any:
        """An object of a class that the host brings along, as one of the class it stands for."""
        original = self._classes.get(type(record).__name__)
        if type(record).__module__ != self._own_module or original is None:
            return record
        if isinstance(record, Mapping):
            return original(**record)
        if isinstance(record, tuple):
            return original(*record)
        made: Any = object.__new__(original)
        for item in dataclasses.fields(record):
            object.__setattr__(made, item.name, getattr(record, item.name))
        return made

    @property
    def methods(self) -> tuple[str, ...]:
        """The compiled methods beside the model's own call."""
        return tuple(self._host.METHODS)

    @property
    def decisions(self) -> list[tuple[int, bool]]:
        """The decisions of the last call: block and side."""
        return list(self._host.decisions)

    @property
    def trace(self) -> list[Decision]:
        """The decisions of the last call with their places in the source."""
        places = {site: branch for branch in self.artifact.manifest.branches for site in branch.sites}
        found = []
        for site, taken in self._host.decisions:
            branch = places[site]
            found.append(Decision(site, taken, f"{branch.location.file}:{branch.location.line}", branch.text))
        return found

    @property
    def state(self) -> dict[str, object]:
        """The attributes that the model writes, by their paths."""
        return dict(self._host.state_dict())

    def load_state(self, state: Mapping[str, object]) -> None:
        """Go on from a state that `state` gave; ValueError if the model has none like it."""
        to_numpy = _Conversion().to_numpy
        self._host.load_state_dict({name: map_values(value, to_numpy) for name, value in state.items()})

    def reset(self, force: Callable[[Any, bool], bool] | None = None) -> None:
        """Back to the state of the first call; from here on `force` decides, if given."""
        self._host._restart()
        self._host.force = force

    def seed(self, seed: int) -> None:
        """Begin the random numbers of the host anew, if it draws any."""
        if hasattr(self._host, "seed"):
            self._host.seed(seed)

    @property
    def host(self) -> Any:
        """The instance of the generated class, with its tunables."""
        return self._host


def _pairs(original: Any, handed: Any) -> Iterator[tuple[Any, Any]]:
    """The caller's lists, dicts and tensors, each with what stands for it."""
    if isinstance(handed, (tuple, list)):
        if isinstance(handed, list):
            yield original, handed
        for pair in zip(original, handed, strict=True):
            yield from _pairs(*pair)
    elif type(handed) is dict:
        yield original, handed
        for key, item in handed.items():
            yield from _pairs(original[key], item)
    elif isinstance(handed, np.ndarray):
        yield original, handed


def _check_apart(pairs: list[tuple[Any, Any]]) -> None:
    """Refuse one list or dict in two places of a call that may write to it: the host gets a copy for each."""
    seen: set[int] = set()
    for original, _ in pairs:
        if isinstance(original, (list, dict)) and id(original) in seen:
            raise ValueError(
                f"the model may write to a {type(original).__name__} that the call passes twice: pass copies"
            )
        seen.add(id(original))


class _Conversion:
    """Tensors to arrays; `seen`: there was one."""

    def __init__(self) -> None:
        self.seen = False

    def to_numpy(self, leaf: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(leaf, torch.Tensor):
            return leaf
        self.seen = True
        return leaf.numpy(force=True)


_LEAVES = frozenset({bool, float, int, np.ndarray, str, type(None)})  # seen at once, as most are


def map_values(
    value: Any,
    change: Callable[[Any], Any],
    restore: Callable[[Any], Any] = lambda made: made,
    *,
    is_leaf: Callable[[Any], bool] = lambda value: False,
) -> Any:
    """A new value of the same nesting, every leaf changed and then every object with fields restored."""
    if type(value) in _LEAVES:
        return change(value)

    def map_item(item: Any) -> Any:
        return map_values(item, change, restore, is_leaf=is_leaf)

    if is_leaf(value):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return restore(type(value)(*map(map_item, value)))
    if type(value) in (tuple, list):
        return type(value)(map(map_item, value))
    if isinstance(value, dict):
        pairs = {key: map_item(item) for key, item in value.items()}
        if type(value) is dict:
            return pairs
        return restore(type(value)(**pairs) if dataclasses.is_dataclass(value) else type(value)(pairs))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        made = object.__new__(type(value))
        for item in dataclasses.fields(value):
            object.__setattr__(made, item.name, map_item(getattr(value, item.name)))
        return restore(made)
    return change(value)


def import_classes(names: Iterable[str]) -> dict[str, type]:
    """Those of the classes (`module:qualname`) that can be imported here; a host has substitutes for the others."""
    found = {}
    for name in names:
        module_name, _, qualname = name.partition(":")
        try:
            value: Any = sys.modules.get(module_name) or importlib.import_module(module_name)
            for part in qualname.split("."):
                value = getattr(value, part)
        except (ImportError, AttributeError):
            continue
        if isinstance(value, type):
            found[name] = value
    return found
