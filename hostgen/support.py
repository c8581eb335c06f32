"""What every generated host stands on: state between calls, the record of decisions, the start of a call.

This file is part of the artifact. It needs numpy and the standard library, nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from dycl.hostgen.arguments import READY, UNSET, Array, Binder, Leaf, Parameter, Seen, Slot, unset_value

# A compiled subgraph: its result, or its results in order.
ToArray = Callable[..., np.ndarray]
ToArrays = Callable[..., "tuple[np.ndarray, ...]"]


def fetch(value: Any) -> Any:
    """What the target's device holds, as an array here; in lists too. What is here is handed on as it is."""
    if isinstance(value, np.ndarray):
        return value
    if type(value) in (list, tuple):
        return type(value)([fetch(item) for item in value])
    if type(value) is dict:
        return {key: fetch(item) for key, item in value.items()}
    return value.fetch() if _is_on_device(value) else value


def array_of(value: Any) -> np.ndarray:
    """What passes between subgraphs, and may be as the target has made it, as an array over the same memory."""
    array: np.ndarray = value if isinstance(value, np.ndarray) else value.numpy()
    return array


def size_of(value: Any, dim: int) -> int:
    """A size of what passes between subgraphs, and may be as the target has made it."""
    shape = value.shape
    size: int = shape[dim] if isinstance(shape, tuple) else shape()[dim]
    return size


def _is_on_device(value: object) -> bool:
    return hasattr(type(value), "fetch") and hasattr(type(value), "__dlpack__")


# ---------------------------------------------------------------- the host


class _Usual(NamedTuple):
    """What the arguments of a method usually are: each run-time value once, in containers as they were compiled for."""

    arrays: tuple[tuple[np.dtype | None, tuple[int | str, ...]], ...]  # the types and shapes of those that are arrays
    leaves: tuple[Leaf, ...]
    signature: tuple[Parameter, ...] | None  # None: each argument is a run-time value itself


def _find_usual(signature: tuple[Parameter, ...]) -> _Usual | None:
    """What is usual for a signature; None where that tells too little."""
    leaves = tuple(leaf for parameter in signature for leaf in parameter.spec.leaves())
    if [leaf.index for leaf in leaves] != list(range(len(leaves))):
        return None
    arrays = ((leaf.usual, leaf.shape) if isinstance(leaf, Array) else (None, ()) for leaf in leaves)
    is_flat = all(isinstance(parameter.spec, Leaf) for parameter in signature)
    return _Usual(tuple(arrays), leaves, None if is_flat else signature)


def _open(signature: tuple[Parameter, ...], values: tuple[Any, ...]) -> list[Any] | None:
    """What stands for the run-time values in the arguments; None where the containers are not as usual."""
    leaves: list[Any] = []
    for parameter, value in zip(signature, values):  # noqa: B905  to be strict takes longer
        if value is UNSET and not parameter.spec.leaves():
            continue
        if not parameter.spec.open(value, leaves):
            return None
    return leaves


_ARRAY = np.ndarray
Decide = Callable[[int, bool], bool]


class _Record(Seen):
    """What is told of a call, and what records its decisions: made once for each thread."""

    __slots__ = ("arrays", "decide", "decisions", "force", "is_new", "written")

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        super().__init__(schemas)
        self.decisions: list[tuple[int, bool]] = []
        self.renew(None)

    def renew(self, force: Decide | None) -> None:
        """Forget all but the decisions, and let `force` change those to come."""
        self.arrays: list[np.ndarray] = []
        self.written: list[tuple[Any, str]] = []
        self.has_tensors = False
        self.is_new = True  # none of these was changed since
        self.force = force
        self.decide = _recorder(self.decisions.append, force)


def _recorder(record: Callable[[tuple[int, bool]], None], force: Decide | None) -> Decide:
    """What a host asks at each decision: it records what is done."""

    def decide(site: int, taken: bool) -> bool:
        record((site, taken))
        return taken

    def ask(site: int, taken: bool) -> bool:
        assert force is not None
        return decide(site, bool(force(site, taken)))

    return decide if force is None else ask


class _LastCall(threading.local):
    """What is told of the last call, to the thread that made it."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self.record = _Record(schemas)


def _copy(value: Any) -> Any:
    """A run-time value that shares nothing with this one."""
    if isinstance(value, list):
        return [_copy(item) for item in value]
    value = fetch(value)
    return np.array(value) if isinstance(value, np.ndarray) else value


class Host:
    """A compiled model: call it as the model it was made from, with numpy arrays in place of tensors.

    Several threads may call one host at once, and each sees its own decisions. State is the host's: a model that keeps
    some has one host for each sequence of calls.
    """

    METHOD: ClassVar[str] = "forward"
    SIGNATURE: ClassVar[tuple[Parameter, ...]] = ()
    METHODS: ClassVar[dict[str, tuple[str, tuple[Parameter, ...]]]] = {}
    """Of further methods of the model: how they are called here, and their parameters."""
    WRITTEN: ClassVar[dict[str, tuple[int, ...]]] = {}
    """Where the model writes to what it is given: for each method (the first has no name) the arrays that it fills."""
    DIMENSIONS: ClassVar[tuple[tuple[str, int, int | None], ...]] = ()
    SITES: ClassVar[tuple[tuple[tuple[int, ...], str, str], ...]] = ()
    """Of each decision of the source the numbers that it has here, its place and its line."""
    STATES: ClassVar[tuple[tuple[Slot, ...], ...]] = ((),)
    SCHEMAS: ClassVar[dict[str, Any]] = {}

    def __init__(self, initial: tuple[Any, ...] = ()) -> None:
        self.force: Decide | None = None
        """Called at each decision with its site and what it would be; what it returns is done instead."""
        self._call = _LastCall(self.SCHEMAS)
        self._usual = None if self.WRITTEN else _find_usual(self.SIGNATURE)
        self._usual_of = {of: None if self.WRITTEN else _find_usual(row[1]) for of, row in self.METHODS.items()}
        self._initial = initial
        self._resume = 0
        self._state = initial

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the compiled method the call itself: a function in between is not in the caches."""
        super().__init_subclass__(**kwargs)
        bases = [base for base in cls.__mro__[1:] if issubclass(base, Host)]
        if cls.__call__ in [Host.__call__, *(getattr(base, base.METHOD, None) for base in bases)]:
            cls.__call__ = getattr(cls, cls.METHOD, Host.__call__)  # type: ignore[method-assign]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the compiled method."""
        return getattr(self, self.METHOD)(*args, **kwargs)

    def method(self, name: str) -> Callable[..., Any]:
        """The compiled method of this name in the model."""
        return getattr(self, self.METHODS[name][0] if name in self.METHODS else self.METHOD)  # type: ignore[no-any-return]

    @property
    def decisions(self) -> list[tuple[int, bool]]:
        """The decisions of the last call: where, and whether the condition held."""
        return list(self._call.record.decisions)

    @property
    def has_tensors(self) -> bool:
        """Whether the objects given to the last call hold tensors of torch's."""
        return self._call.record.has_tensors

    @property
    def written(self) -> list[tuple[Any, str]]:
        """The attributes of objects of the caller's that the last call has written."""
        return self._call.record.written

    def describe(self, site: int) -> tuple[str, str]:
        """The place in the source of a decision, and its line."""
        for sites, place, text in self.SITES:
            if site in sites:
                return place, text
        raise KeyError(site)

    def state_dict(self) -> dict[str, Any]:
        """The attributes of the model that outlive a call, as they are now."""
        leaves = {index: _copy(value) for index, value in enumerate(self._state)}
        return {slot.name: slot.spec.build(leaves) for slot in self.STATES[self._resume]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        problems = []
        for resume, slots in enumerate(self.STATES):
            names = [slot.name for slot in slots]
            if set(names) != set(state):
                problems.append(f"expected the attributes {names}, got {list(state)}")
                continue
            binder = Binder(by_identity=False)
            try:
                for slot in slots:
                    slot.spec.bind(binder, slot.name, state[slot.name])
            except (TypeError, ValueError) as problem:
                problems.append(str(problem))
                continue
            self._resume = resume
            self._state = tuple(_copy(binder.leaves[index]) for index in sorted(binder.leaves))
            return
        raise ValueError("this state fits no state of the model: " + "; ".join(problems))

    def reset(self) -> Any:
        """Back to the state that the model had when it was compiled; a compiled `reset` of the model replaces it."""
        self._restart()

    def _restart(self) -> None:
        """Back to the state that the model had when it was compiled."""
        self._resume, self._state = 0, self._initial

    def _begin(self, *values: Any, of: str = "") -> tuple[Any, ...]:
        """What records decisions, and the run-time values in the arguments of a method, in order, arrays contiguous."""
        record = self._call.record
        record.decisions.clear()
        if not record.is_new or record.force is not self.force:
            record.renew(self.force)
        usual = self._usual_of[of] if of else self._usual
        if usual is not None:
            arrays, leaves, signature = usual
            given = values if signature is None else _open(signature, values)
            if given is not None:  # what follows is all of it here: little of what a call begins with is in the caches
                for value, (dtype, shape) in zip(given, arrays):  # noqa: B905  to be strict takes longer
                    if type(value) is not _ARRAY or value.dtype is not dtype or value.shape != shape:
                        break
                    if value.flags.num & READY != READY:
                        break
                else:
                    return record.decide, *given
                if self._are_usual(record, leaves, given):
                    return record.decide, *given
        return record.decide, *self._bind(record, values, of)

    def _are_usual(self, record: _Record, leaves: tuple[Leaf, ...], given: Sequence[Any]) -> bool:
        """Whether these are the run-time values, as they are."""
        record.sizes.clear()
        for leaf, value in zip(leaves, given, strict=True):
            if not leaf.is_usual(record, value):
                return False
        for name, low, high in self.DIMENSIONS:
            size = record.sizes.get(name, low)
            if size < low or (high is not None and size > high):
                return False
        if record.has_tensors:
            record.is_new = False
        return True

    def _bind(self, record: _Record, values: tuple[Any, ...], of: str) -> list[Any]:
        """The run-time values; the first argument that does not fit raises an error that names it."""
        record.has_tensors = False
        signature = self.METHODS[of][1] if of else self.SIGNATURE
        binder = Binder(by_identity=True, schemas=self.SCHEMAS, written=self.WRITTEN.get(of))
        for parameter, value in zip(signature, values, strict=True):
            given = unset_value(parameter) if value is UNSET else value
            parameter.spec.bind(binder, parameter.name, given)
        for name, low, high in self.DIMENSIONS:
            binder.check_dimension(name, low, high)
        binder.check_apart()
        if binder.has_tensors:
            record.has_tensors, record.is_new = True, False
        return [binder.leaves[index] for index in sorted(binder.leaves)]

    def _set(self, target: Any, name: str, value: object) -> None:
        """Write an attribute of an object of the caller's."""
        setattr(target, name, value)
        record = self._call.record
        record.is_new = False
        record.written.append((target, name))

    def is_array(self, value: object) -> bool:
        """Whether a part of the last result is an array in the source too, not what stands for a tensor."""
        return any(value is array for array in self._call.record.arrays)

    def _array(self, value: np.ndarray) -> np.ndarray:
        """Note that the source returns this array as one."""
        record = self._call.record
        record.is_new = False
        record.arrays.append(value)
        return value

    def _commit(self, resume: int, state: tuple[Any, ...]) -> None:
        """Keep the state for the next call. Nothing that can fail may come between this and the end of the call."""
        self._resume, self._state = resume, state
