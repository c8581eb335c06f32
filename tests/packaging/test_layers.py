"""Imports go one way: diagnostics and IR at the bottom, the parts above, the pipeline and the commands on top."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

# What the modules under a prefix may import of ours besides each other; the longest prefix counts.
BASE = ("dycl.diagnostics", "dycl.ir")
PARTS = {
    "dycl.frontend": BASE,
    "dycl.passes": BASE,
    # it runs the lowered source; modules of equal structure give results of equal shape
    "dycl.passes.specialize": (*BASE, "dycl.frontend", "dycl.passes.analysis.structure"),
    "dycl.hostgen": BASE,
    "dycl.targets": BASE,
}
LAYERS = {"dycl.diagnostics": (), "dycl.ir": ("dycl.diagnostics",), **PARTS}

# Deviations, each with its reason; one that is gone must leave the list.
DEVIATIONS = {
    ("dycl.targets.onnx.binding", "dycl.passes.deduplicate"): "the order of a structure's weights is made there",
}

# Copied into artifacts: they stand on their own, or on each other, where neither torch nor dycl is installed.
DEPLOYED = {
    "dycl.hostgen.arguments": {"numpy"},
    "dycl.hostgen.containers": set(),
    "dycl.hostgen.results": {"numpy"},
    "dycl.hostgen.scalars": {"numpy"},
    "dycl.hostgen.schemas": {"numpy"},
    "dycl.hostgen.support": {"numpy"},
    "dycl.ir.contents": set(),
    "dycl.ir.kinds": set(),
    "dycl.targets.devicearray": {"numpy"},
    "dycl.targets.onnx.graphs": set(),
    "dycl.targets.onnx.mixed_runtime": {"numpy"},
    "dycl.targets.onnxruntime.device": {"numpy", "onnxruntime"},
    "dycl.targets.onnxruntime.dispatch": {"numpy", "onnxruntime"},
    "dycl.targets.onnxruntime.memory": {"numpy", "onnxruntime"},
    "dycl.targets.onnxruntime.runtime": {"numpy", "onnxruntime"},
    "dycl.targets.onnxruntime.unsized": {"numpy", "onnxruntime"},
    "dycl.targets.reference.runtime": {"numpy", "onnx"},
    "dycl.targets.tvm.cuda": {"numpy", "tvm_ffi"},
    "dycl.targets.tvm.runtime": {"numpy", "tvm_ffi"},
}

# Imported by `dycl run` and `dycl.load`, where torch need not be installed.
TORCH_FREE = ("dycl", "dycl.artifact", "dycl.cli", "dycl.diagnostics", "dycl.hosting", "dycl.inputs", "dycl.manifest")


def imported(tree: ast.AST, modules: dict[str, Path]) -> Iterator[str]:
    """The modules that import statements anywhere in the tree name; of ours the module, not the name inside it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else str(node.module)


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imported_at_once(path: Path, modules: dict[str, Path]) -> set[str]:
    """What importing the module imports: not what its functions or type checkers do."""
    found: set[str] = set()
    todo: list[ast.stmt] = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_type_checking(node):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.update(imported(node, modules))
        todo.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.ExceptHandler))
    return found


def is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.fixture(scope="module")
def graph(modules: dict[str, Path]) -> dict[str, set[str]]:
    """All that each module of ours imports, wherever the statement stands."""
    return {name: set(imported(ast.parse(path.read_text("utf-8")), modules)) for name, path in modules.items()}


def test_a_layer_imports_only_what_is_below_it(graph: dict[str, set[str]]) -> None:
    breaks = set()
    for module, targets in graph.items():
        layer = max((prefix for prefix in LAYERS if is_inside(module, prefix)), key=len, default=None)
        if layer is None:
            continue
        allowed = (layer.split(".specialize")[0], *LAYERS[layer])
        for target in targets:
            ours = is_inside(target, "dycl") and target != "dycl"
            if (ours and not any(is_inside(target, prefix) for prefix in allowed)) or target == "dycl":
                breaks.add((module, target))
    assert breaks == set(DEVIATIONS)


def test_only_the_pipeline_imports_the_parts(graph: dict[str, set[str]]) -> None:
    drivers = {module for module in graph if not any(is_inside(module, layer) for layer in LAYERS)}
    importers = {
        module for module in drivers if any(is_inside(target, part) for target in graph[module] for part in PARTS)
    }
    assert importers == {"dycl.pipeline"}


def test_the_drivers_below_the_pipeline_do_not_import_it(graph: dict[str, set[str]]) -> None:
    assert {module for module in graph if "dycl.pipeline" in graph[module]} == {
        "dycl.api",
        "dycl.cli",
        "dycl.cli_output",
    }
    above = {"dycl.api", "dycl.cli", "dycl.cli_output"}
    assert {module for module in graph if graph[module] & above} <= {*above, "dycl"}


def test_no_import_goes_round(modules: dict[str, Path]) -> None:
    edges = [
        (module, target)
        for module, path in modules.items()
        for target in imported_at_once(path, modules)
        if target in modules
    ]
    assert list(nx.simple_cycles(nx.DiGraph(edges))) == []


def test_the_compiler_never_imports_the_zoo(graph: dict[str, set[str]]) -> None:
    outside = {"models_zoo", "tests", "bench", "passes", "hostgen", "targets"}
    assert {
        (module, target) for module in graph for target in graph[module] if target.split(".")[0] in outside
    } == set()


@pytest.mark.parametrize("module", DEPLOYED)
def test_what_is_copied_into_artifacts_stands_alone(module: str, graph: dict[str, set[str]]) -> None:
    foreign = {name.split(".")[0] for name in graph[module] - set(DEPLOYED)} - sys.stdlib_module_names - {"__future__"}
    assert foreign <= DEPLOYED[module]


@pytest.mark.parametrize("module", TORCH_FREE)
def test_what_a_deployed_model_needs_imports_no_torch(module: str, modules: dict[str, Path]) -> None:
    seen, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(imported_at_once(modules[name], modules) if name in modules else ())
    assert {name for name in seen if name.split(".")[0] in ("torch", "onnx", "onnxscript", "libcst")} == set()


def test_no_package_re_exports(modules: dict[str, Path]) -> None:
    packages = {name: path for name, path in modules.items() if path.name == "__init__.py" and name != "dycl"}
    assert len(packages) >= 7
    for path in packages.values():
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body), path


def test_dycl_itself_has_the_public_names() -> None:
    import dycl

    assert sorted(dycl.__all__) == ["CompiledModel", "Method", "compile", "load"]
    assert all(getattr(dycl, name).__module__ == "dycl.api" for name in dycl.__all__)
