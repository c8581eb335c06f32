"""A target that computes with numpy: a subgraph becomes one Python function.

It knows five operators. It is small on purpose, and slow; it shows every obligation that a target has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dycl.ir.copies import copied_text
from dycl.ir.environment import Environment
from dycl.ir.nodes import Subgraph
from dycl.ir.program import Program
from dycl.targets.base import Capabilities, Compiled, CompiledSubgraph, Options, Target, refuse
from dycl.targets.check import Run, check
from dycl.targets.module import SubgraphModule
from dycl.targets.ports import input_ports, output_ports
from dycl.targets.samples import export_inputs
from dycl.targets.weights import WeightFile

# ATen operator -> the numpy that means the same
OPERATORS: dict[str, str] = {
    "aten.linear.default": "({0} @ {1}.T + {2}).astype({0}.dtype)",
    "aten.tanh.default": "np.tanh({0})",
    "aten.mul.Tensor": "{0} * np.asarray({1}, {0}.dtype)",
    "aten.gt.Scalar": "np.asarray({0} > {1})",
    "aten.linalg_vector_norm.default": "np.asarray(np.sqrt((np.asarray({0}) ** 2).sum()))",
}


class NumpyTarget:
    """Subgraphs as Python functions over numpy arrays."""

    name = "numpy"
    devices = ("cpu",)

    def available(self) -> str | None:
        """None: numpy is always there."""
        return None

    def capabilities(self) -> Capabilities:
        """Float32 tensors of fixed sizes; the operators are torch's, so none of ONNX are named."""
        return Capabilities(dtypes=frozenset({"float32"}), run_time_sizes=False)

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
            runtime={"runtime.py": copied_text("numpy_runtime"), "contents.py": copied_text("dycl.ir.contents")},
            requirements=("numpy>=1.26",),
            subgraphs=tuple(compiled),
            weights=weights.entries,
            structures_exported=len(compiled),
            weight_bytes=weights.size,
        )


TARGET: Target = NumpyTarget()


def compile_subgraph(
    subgraph: Subgraph, environment: Environment, weights: WeightFile, directory: Path, options: Options
) -> CompiledSubgraph:
    """The subgraph as a file, and how far it is from torch."""
    for port in (*input_ports(subgraph), *output_ports(subgraph)):
        if port.scalar or not all(isinstance(size, int) for size in port.shape):
            raise refuse(subgraph, f"{port.name} is no tensor of fixed shape")
    module = SubgraphModule(subgraph, environment)
    program = torch.export.export(module, export_inputs(subgraph)).run_decompositions({})
    tensors = {spec.arg.name: program.state_dict[spec.target] for spec in stored_inputs(program)}
    names = {name: f"{subgraph.name}.{name}" for name in tensors}
    for name, tensor in tensors.items():
        weights.add(names[name], tensor)
    text = write_function(subgraph, program, tuple(tensors))
    file = f"subgraphs/{subgraph.name}.py"
    (directory / file).write_text(text, encoding="utf-8")
    run = load_function(text, [tensor.detach().numpy() for tensor in tensors.values()])
    deviation = check(subgraph, module, run, options, "numpy")
    return CompiledSubgraph(
        name=subgraph.name,
        file=file,
        structure=subgraph.structure,
        inputs=input_ports(subgraph),
        outputs=output_ports(subgraph),
        weights=tuple(names.values()),
        samples=deviation.samples,
        max_abs_error=deviation.max_abs,
        max_rel_error=deviation.max_rel,
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
                raise refuse(subgraph, f"numpy has no rule for {node.target}")
            lines.append(f"    {node.name} = {template.format(*node.args)}")
        elif node.op == "output":
            lines.append(f"    return ({', '.join(str(result) for result in node.args[0])},)")
    return "\n".join(lines) + "\n"


def load_function(text: str, weights: list[np.ndarray]) -> Run:
    """The function as the check takes it."""
    scope: dict[str, Callable[..., tuple[np.ndarray, ...]]] = {}
    exec(compile(text, "subgraph.py", "exec"), scope)
    return lambda arrays: scope["run"](*weights, *arrays)
