"""Exports of earlier compiles: the same files as without them, one export for one changed layer, never a wrong one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dycl.cache import Cache
from dycl.ir.nodes import CallModule
from dycl.ir.values import TensorType, Weight
from dycl.passes.deduplicate import portable_structure
from dycl.targets.base import Options
from dycl.targets.onnx import binding, exports
from dycl.targets.onnxruntime.target import TARGET
from tests.targets.conftest import Builder, environment_of, program_of

ROOT = Path(__file__).parents[2]


def layer(path: str, x: Any, b: Builder) -> Any:
    return b.done(b.op("torch.relu", b.op(CallModule(path), x)))


def linear(path: str, size: int | str = 2, **modules: nn.Module) -> Any:
    b = Builder(f"00_{path}")
    return layer(path, b.tensor(size, 8), b)


def network(width: int = 8) -> tuple[list[Any], dict[str, nn.Module]]:
    """Two structures: linear layers, and a convolution with a constant of the graph that is too large to lie in it."""
    torch.manual_seed(0)
    b = Builder("01_conv")
    conv = b.op(CallModule("conv"), b.tensor(1, 3, 9, 9))
    total = b.op("torch.cumsum", b.op("torch.full", (2000,), 0.5), 0, out=(TensorType("float32", (2000,)),))
    a = Builder("00_linear")
    modules = {"linear": nn.Linear(8, width), "conv": nn.Conv2d(3, 4, 3)}
    return [layer("linear", a.tensor(2, 8), a), b.done(conv, total)], modules


def compile_into(directory: Path, cache: Cache | None, subgraphs: list[Any], modules: dict[str, nn.Module]) -> Any:
    directory.mkdir()
    environment = environment_of(None, modules)
    compiled = TARGET.compile(program_of(*subgraphs), environment, directory, Options(cache=cache))
    files = {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    return compiled, files


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "store", 1 << 24)


def test_the_same_bytes_without_with_and_from_the_cache(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, expected = compile_into(tmp_path / "without", None, *network())
    first, written = compile_into(tmp_path / "first", cache, *network())
    monkeypatch.setattr(binding, "export", lambda *args: pytest.fail("exported again"))
    second, reused = compile_into(tmp_path / "second", cache, *network())
    assert expected == written == reused
    assert plain.manifest() == first.manifest() == second.manifest()
    assert (plain.structures_reused, first.structures_reused, second.structures_reused) == (0, 0, 2)


def test_other_weights_use_the_same_export(tmp_path: Path, cache: Cache) -> None:
    compile_into(tmp_path / "first", cache, *network())
    subgraphs, modules = network()
    with torch.no_grad():
        modules["linear"].weight.fill_(2.0)
    _, expected = compile_into(tmp_path / "without", None, subgraphs, modules)
    second, files = compile_into(tmp_path / "second", cache, subgraphs, modules)
    assert second.structures_reused == 2
    assert files == expected


def test_one_layer_that_changed_is_exported_alone(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_into(tmp_path / "first", cache, *network())
    exported = []
    export = binding.export
    monkeypatch.setattr(binding, "export", lambda *given: exported.append(1) or export(*given))
    second, _ = compile_into(tmp_path / "second", cache, *network(width=5))
    assert (second.structures_exported, second.structures_reused, len(exported)) == (2, 1, 1)


def test_a_damaged_entry_is_made_anew(tmp_path: Path, cache: Cache) -> None:
    _, expected = compile_into(tmp_path / "first", cache, *network())
    for path in cache.directory.glob("??/*"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    second, files = compile_into(tmp_path / "second", cache, *network())
    assert second.structures_reused == 0
    assert files == expected


def test_an_export_that_does_not_compute_this_is_found_and_made_anew(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the check of each subgraph can tell, where somebody has replaced a function of torch."""
    _, expected = compile_into(tmp_path / "first", None, *network())
    (structure, *_), modules = network()
    b = Builder("00_linear")
    wrong = b.done(b.op("torch.sigmoid", b.op(CallModule("linear"), b.tensor(2, 8))))
    environment = environment_of(None, modules)
    same_key = exports._key(portable_structure(structure, environment), 0)
    with monkeypatch.context() as patch:
        patch.setattr(exports, "_key", lambda structure, opset: same_key)
        compile_into(tmp_path / "wrong", cache, [wrong], modules)
    second, files = compile_into(tmp_path / "second", cache, *network())
    assert files == expected
    assert second.structures_reused == 0
    third, files = compile_into(tmp_path / "third", cache, *network())
    assert files == expected
    assert third.structures_reused == 2


def test_names_of_sizes_and_other_types_are_another_export() -> None:
    environment = environment_of(None, {"a": nn.Linear(8, 8), "b": nn.Linear(8, 8).double()})
    texts = [portable_structure(linear(*call), environment) for call in (("a", 2), ("a", "n"), ("a", "m"), ("b", 2))]
    assert None not in texts
    assert len(set(texts)) == 4


@pytest.mark.parametrize("strange", ["a class of the user's", "a function of the user's", "a hook"])
def test_what_only_this_process_knows_is_not_kept(strange: str) -> None:
    class Mine(nn.Linear):
        pass

    module: nn.Module = Mine(8, 8) if strange == "a class of the user's" else nn.Linear(8, 8)
    if strange == "a function of the user's":
        module.activation = lambda x: x
    if strange == "a hook":
        module.register_forward_hook(lambda *args: None)
    assert portable_structure(linear("a"), environment_of(None, {"a": module})) is None


def test_tied_weights_are_another_structure_than_equal_ones() -> None:
    weight = torch.arange(16.0)
    apart = environment_of({"p": weight[:8].clone(), "q": weight[8:].clone()})
    together = environment_of({"p": weight[:8], "q": weight[8:]})
    b = Builder()
    subgraph = b.done(b.op("torch.add", Weight("p"), Weight("q"), out=(TensorType("float32", (8,)),)))
    assert portable_structure(subgraph, apart) != portable_structure(subgraph, together)


def encoder_structure() -> str:
    layer = nn.TransformerEncoderLayer(8, 2, activation=torch.nn.functional.gelu)
    return str(portable_structure(linear("a"), environment_of(None, {"a": layer})))


def test_a_structure_is_the_same_text_in_every_process() -> None:
    code = "from tests.targets.test_kept_exports import encoder_structure; print(encoder_structure())"
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    here = encoder_structure()
    assert other.stdout == f"{here}\n"
    assert "gelu" in here
