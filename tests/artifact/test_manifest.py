"""The text of a manifest: everything once, nothing lost, and what cannot be read is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dycl.diagnostics import UsageError
from dycl.manifest import (
    SCHEMA_VERSION,
    BranchEntry,
    Location,
    PortEntry,
    SubgraphEntry,
    WeightEntry,
    decode_manifest,
    encode_manifest,
)
from tests.artifact.manifests import toy_manifest


def port(name: str, dtype: str, *shape: int | str, scalar: str = "") -> PortEntry:
    return PortEntry(name=name, dtype=dtype, shape=shape, scalar=scalar)


def subgraph(structure: int, weights: tuple[str, ...], **changes: Any) -> SubgraphEntry:
    values: dict[str, Any] = {
        "file": f"subgraphs.zip/{structure}.onnx",
        "structure": structure,
        "inputs": (port("in0", "float32", 1, "size"), port("in1", "int64", scalar="int")),
        "outputs": (port("out0", "float32", 1, 4),),
        "weights": weights,
        "location": Location("net.py", 3, "Net.forward"),
        "operations": 2,
        "settings": {"arena": False, "machine": "abc"},
    }
    return SubgraphEntry(**{**values, **changes})


WEIGHTS = {
    "blocks.0.weight": WeightEntry(dtype="float32", shape=(4, 4), offset=0),
    "scale": WeightEntry(dtype="float64", shape=(), offset=64),
    "blocks.1.weight": WeightEntry(dtype="float32", shape=(4, 4), offset=128),
    "blocks.0.bias": WeightEntry(dtype="float32", shape=(4,), offset=192),
}
SUBGRAPHS = {
    "00_first": subgraph(0, ("blocks.0.weight", "blocks.0.bias")),
    "01_second": subgraph(0, ("blocks.1.weight", "scale"), settings={"arena": False, "machine": "abc", "given": [1]}),
    "02_third": subgraph(1, ("scale", "scale"), settings={"arena": 0, "machine": "abc"}, engine="tvm"),
    "03_fourth": subgraph(-1, (), reason="alone"),
}


def test_nothing_is_lost() -> None:
    made = toy_manifest(files={"b": "2", "a": "1"}, subgraphs=SUBGRAPHS, weights=WEIGHTS)
    data = encode_manifest(made)
    assert decode_manifest(data, "") == made
    assert encode_manifest(decode_manifest(data, "")) == data
    assert decode_manifest(encode_manifest(toy_manifest()), "") == toy_manifest()


def test_everything_stands_once() -> None:
    text = encode_manifest(toy_manifest(subgraphs=SUBGRAPHS, weights=WEIGHTS)).decode()
    written = json.loads(text)
    assert written["settings"] == {"machine": "abc"}
    assert written["structures"]["0"]["settings"] == {"arena": False}
    assert written["subgraphs"]["00_first"] == {"structure": 0, "weights": [0, 1]}
    assert written["subgraphs"]["01_second"] == {"settings": {"given": [1]}, "structure": 0, "weights": [3, 2]}
    assert written["weights"] == [
        ["blocks.0", ["weight", 0, [4, 4]], ["bias", 192, [4]]],
        ["", ["scale", 64, [], "float64"]],
        ["blocks.1", ["weight", 128, [4, 4]]],
    ]
    assert text.count("subgraphs.zip/0.onnx") == text.count("machine") == 1


def test_zero_is_not_false() -> None:
    """To Python they are equal, so one of them would be lost where subgraphs of a structure have both."""
    both = {name: subgraph(0, (), settings={"arena": value}) for name, value in (("00_a", False), ("01_b", 0))}
    found = decode_manifest(encode_manifest(toy_manifest(subgraphs=both)), "").subgraphs
    assert [type(entry.settings["arena"]) for entry in found.values()] == [bool, int]


def test_a_decision_of_several_sites() -> None:
    branch = BranchEntry(sites=(0, 3), location=Location("net.py", 7), text="if x.sum() > 0:")
    made = toy_manifest(branches=(branch,))
    assert decode_manifest(encode_manifest(made), "") == made


HEAD = f'{{"generator": "dycl", "schema_version": {SCHEMA_VERSION}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not the manifest"),
        ('{"generator": "other"}', "not the manifest"),
        ('{"generator": "dycl", "schema_version": 1}', "schema version 1; this dycl reads version 2"),
        (f'{{"generator": "dycl", "schema_version": {SCHEMA_VERSION + 1}}}', f"schema version {SCHEMA_VERSION + 1}"),
        (f"{HEAD}}}", "wrong part.*weights"),
        (f'{HEAD}, "weights": 3}}', "wrong part"),
        (f'{HEAD}, "weights": [], "subgraphs": {{"a": {{"structure": 0}}}}, "structures": {{}}}}', "wrong part"),
        (f'{HEAD}, "weights": [], "subgraphs": {{}}, "structures": {{}}}}', "missing required field"),
    ],
)
def test_manifests_that_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        decode_manifest(text.encode(), "manifest.json")
    assert refused.value.code == "DY404"
