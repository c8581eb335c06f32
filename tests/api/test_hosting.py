"""Values on their way in and out of a host: nesting, classes of the model, tensors and arrays."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from dycl.artifact import LoadedArtifact
from dycl.hosting import HostModel, import_classes


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclasses.dataclass(frozen=True)
class Output:
    logits: Any
    extra: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.extra, str):
            raise AssertionError("a finished object is not made again")


class Fields(collections.OrderedDict[str, Any]):
    pass


class Stop(Exception):  # noqa: N818
    pass


def make_host(call: Any) -> Any:
    """A host class whose own records stand in for the classes above, as a generated module has them."""
    members = {"__call__": lambda self, *args, **kwargs: call(*args, **kwargs), "__module__": "own"}
    defaults = {
        "is_array": lambda self, value: False,
        "has_tensors": False,
        "written": (),
        "SCHEMAS": {},
        "WRITTEN": {},
    }
    return type("Host", (), members | defaults)()


def model(call: Any, *, known: bool = True) -> HostModel:
    artifact = LoadedArtifact(Path(), SimpleNamespace(branches=()), ModuleType("own"), make_host(call))  # type: ignore[arg-type]
    classes = {f"m:{cls.__name__}": cls for cls in (Pair, Output, Fields, Stop)} if known else {}
    return HostModel(artifact, classes)


def own(cls: type) -> Any:
    """The class as the host would have it: same name, another module."""
    if issubclass(cls, Exception):
        return type(cls.__name__, (Exception,), {"__module__": "own"})
    if issubclass(cls, dict):
        return type(cls.__name__, (dict,), {"__module__": "own"})
    if hasattr(cls, "_fields"):
        made = collections.namedtuple(cls.__name__, cls._fields)
        made.__module__ = "own"
        return made
    made_class = dataclasses.make_dataclass(cls.__name__, ["logits", "extra"])
    made_class.__module__ = "own"
    return made_class


@pytest.mark.parametrize("cls", [Pair, Output])
def test_records_are_the_models_own(cls: type) -> None:
    found = model(lambda x: [own(cls)(x, "text")])(torch.ones(2))
    assert type(found[0]) is cls
    first, second = (getattr(found[0], name) for name in (getattr(cls, "_fields", None) or ("logits", "extra")))
    assert torch.equal(first, torch.ones(2))
    assert second == "text"


def test_mappings_are_the_models_own() -> None:
    found = model(lambda x: own(Fields)(a=x))(np.ones(2))
    assert type(found) is Fields
    assert list(found) == ["a"]


def test_unknown_classes_stay_the_hosts() -> None:
    substitute = own(Pair)
    assert type(model(lambda x: substitute(x, 1), known=False)(np.ones(1))) is substitute


def test_exceptions_are_the_models_own() -> None:
    def fail(x: Any) -> None:
        raise own(Stop)("at layer", 3)

    with pytest.raises(Stop) as found:
        model(fail)(np.ones(1))
    assert found.value.args == ("at layer", 3)


def test_nested_inputs() -> None:
    seen = []

    def keep(x: Any, *, mask: Any) -> Any:
        seen.append((x, mask))
        return {"x": x, "n": 3, "none": None}

    found = model(keep)((torch.ones(1), [torch.zeros(2)]), mask={"m": torch.tensor(True)})
    (x, mask), *_ = seen
    assert isinstance(x, tuple) and isinstance(x[0], np.ndarray) and isinstance(x[1][0], np.ndarray)
    assert mask["m"].dtype == np.bool_
    assert torch.equal(found["x"][1][0], torch.zeros(2))
    assert found["n"] == 3 and found["none"] is None


def test_numbers_stay_numbers() -> None:
    assert model(lambda x: (1, 2.5, True, "a"))(torch.ones(1)) == (1, 2.5, True, "a")


def test_a_result_is_not_memory_of_the_host() -> None:
    weight = np.ones(3, np.float32)
    weight.flags.writeable = False
    found: Any = model(lambda x: weight)(torch.ones(1))
    found.add_(1)
    assert weight[0] == 1


def test_importable_classes() -> None:
    found = import_classes(["collections:OrderedDict", "no_such_module:Thing", "collections:Nothing"])
    assert found == {"collections:OrderedDict": collections.OrderedDict}
