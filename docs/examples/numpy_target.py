"""A target that computes with numpy: a subgraph becomes one Python function.

It knows five operators. It is small on purpose, and slow; it shows every obligation that a target has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dycl.diagnostics import TargetError
from dycl.ir.environment import Environment
from dycl.ir.nodes import Program, ScalarType, Subgraph, TensorType
from dycl.targets.base import Compiled, CompiledSubgraph, Options, Port, Target
from dycl.targets.onnxruntime.module import SubgraphModule
from dycl.targets.onnxruntime.samples import export_inputs
from dycl.targets.onnxruntime.weights import WeightFile

# ATen operator -> the numpy that means the same
OPERATORS: dict[str, str] = {
    "aten.linear.default": "({0} @ {1}.T + {2}).astype({0}.dtype)",
    "aten.tanh.default": "np.tanh({0})",
    "aten.mul.Tensor": "{0} * np.asarray({1}, {0}.dtype)",
    "aten.gt.Scalar": "np.asarray({0} > {1})",
    "aten.linalg_vector_norm.default": "np.asarray(np.sqrt((np.asarray({0}) ** 2).sum()))",
}

RUNTIME = Path(__file__).with_name("numpy_runtime.py")


class NumpyTarget:
    """Subgraphs as Python functions over numpy arrays."""

    name = "numpy"
    device = "cpu"
    requirements = ("numpy>=1.26",)

    def available(self) -> str | None:
        """None: numpy is always there."""
        return None

    def compile(self, program: Program, environment: Environment, directory: Path, options: Options) -> Compiled:
        """Write subgraphs/*.py and weights.bin; every subgraph is run and compared with torch."""
        (directory / "subgraphs").mkdir(parents=True, exist_ok=True)
        weights = WeightFile()
        for name, tensor in environment.weights.items():
            weights.add(name, tensor)  # the host may read a weight itself: a state that starts with it, a result
        compiled = [compile_subgraph(item, environment, weights, directory, options) for item in program.subgraphs]
        weights.write(directory / "weights.bin")
        return Compiled(
            files=("weights.bin", *(item.file for item in compiled)),
            subgraphs=tuple(compiled),
            weights=weights.entries,
            structures_exported=len(compiled),
            weight_bytes=weights.size,
        )

    def runtime_source(self) -> str:
        """The module that goes into the artifact."""
        return RUNTIME.read_text(encoding="utf-8")


TARGET: Target = NumpyTarget()


def compile_subgraph(
    subgraph: Subgraph, environment: Environment, weights: WeightFile, directory: Path, options: Options
) -> CompiledSubgraph:
    """The subgraph as a file, and how far it is from torch."""
    module = SubgraphModule(subgraph, environment)
    program = torch.export.export(module, export_inputs(subgraph)).run_decompositions({})
    tensors = {spec.arg.name: program.state_dict[spec.target] for spec in stored_inputs(program)}
    names = {name: f"{subgraph.name}.{name}" for name in tensors}
    for name, tensor in tensors.items():
        weights.add(names[name], tensor)
    text = write_function(subgraph, program, tuple(tensors))
    file = f"subgraphs/{subgraph.name}.py"
    (directory / file).write_text(text, encoding="utf-8")
    worst = check(subgraph, module, text, {name: tensor.detach().numpy() for name, tensor in tensors.items()}, options)
    return CompiledSubgraph(
        name=subgraph.name,
        file=file,
        structure=subgraph.structure,
        inputs=tuple(port(subgraph, f"in{i}", value.type) for i, value in enumerate(subgraph.params)),
        outputs=tuple(port(subgraph, f"out{i}", kind) for i, kind in enumerate(result_types(subgraph))),
        weights=tuple(names.values()),
        samples=options.random_samples,
        max_abs_error=worst,
        max_rel_error=worst,
    )


def stored_inputs(program: torch.export.ExportedProgram) -> list[torch.export.graph_signature.InputSpec]:
    """The inputs of an exported graph that are weights."""
    kinds = (torch.export.graph_signature.InputKind.PARAMETER, torch.export.graph_signature.InputKind.BUFFER)
    return [spec for spec in program.graph_signature.input_specs if spec.kind in kinds]


def write_function(subgraph: Subgraph, program: torch.export.ExportedProgram, weights: tuple[str, ...]) -> str:
    """The source of the function; an operator that is not in the table is refused by name."""
    inputs = [node.name for node in program.graph.nodes if node.op == "placeholder" and node.name not in weights]
    lines = ["import numpy as np", "", "", f"def run({', '.join((*weights, *inputs))}):"]
    for node in program.graph.nodes:
        if node.op == "call_function":
            template = OPERATORS.get(str(node.target))
            if template is None:
                what = f"numpy has no rule for {node.target}"
                raise TargetError("DY401", subgraph.loc, f"subgraph {subgraph.name}: {what}")
            lines.append(f"    {node.name} = {template.format(*node.args)}")
        elif node.op == "output":
            lines.append(f"    return ({', '.join(str(result) for result in node.args[0])},)")
    return "\n".join(lines) + "\n"


def check(
    subgraph: Subgraph, module: SubgraphModule, text: str, weights: dict[str, np.ndarray], options: Options
) -> float:
    """The largest difference from torch on random inputs; too large a one is an error of the target."""
    scope: dict[str, Callable[..., tuple[np.ndarray, ...]]] = {}
    exec(compile(text, f"{subgraph.name}.py", "exec"), scope)
    worst = 0.0
    for _ in range(options.random_samples):
        inputs = export_inputs(subgraph)
        found = scope["run"](*weights.values(), *(tensor.numpy() for tensor in inputs))
        for got, tensor in zip(found, module(*inputs), strict=True):
            want = tensor.detach().numpy()
            same = got.dtype == want.dtype and got.shape == want.shape
            if not same or not np.allclose(want, got, rtol=options.rtol, atol=options.atol, equal_nan=True):
                raise TargetError("DY402", subgraph.loc, f"subgraph {subgraph.name}: {got!r} instead of {want!r}")
            worst = max(worst, float(np.abs(want.astype(float) - got.astype(float)).max(initial=0.0)))
    return worst


def port(subgraph: Subgraph, name: str, kind: object) -> Port:
    """An input or output as the manifest has it."""
    match kind:
        case TensorType(dtype=dtype, shape=shape) if all(isinstance(size, int) for size in shape):
            return Port(name, dtype, shape)
        case ScalarType() | _:
            raise TargetError("DY401", subgraph.loc, f"subgraph {subgraph.name}: {name} is no tensor of fixed shape")


def result_types(subgraph: Subgraph) -> list[object]:
    """The types of the results, in order."""
    values = [*subgraph.params, *(value for op in subgraph.ops for value in op.results)]
    types = {value.id: value.type for value in values}
    return [types[result] for result in subgraph.results]
