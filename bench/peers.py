"""The peers of a row: each a function of a sample's number that makes one call, its inputs bound beforehand."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
import torch
from torch import nn

from bench.rows import Call
from dycl.artifact import load_artifact
from dycl.ir.contents import read_contents
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.sampling import map_tensors
from dycl.targets.onnxruntime.dispatch import make_call
from dycl.targets.onnxruntime.memory import Memory

Run = Callable[[int], object]


@dataclass(slots=True)
class Peer:
    """One way to run the model; `reset` brings it to its first state and is not timed."""

    name: str
    run: Run
    reset: Callable[[int], None] = lambda seed: None


@dataclass(slots=True)
class Peers:
    """The peers that exist for a row, and why the others do not."""

    found: list[Peer] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def attempt(self, name: str, make: Callable[[], Peer]) -> None:
        """Add a peer, or the reason for which there is none."""
        try:
            with _quiet():
                peer = make()
                for sample in (0, 1, 2):
                    peer.reset(sample)
                    peer.run(sample)
        except Exception as error:  # whatever a compiler says that does not take this model
            text = str(error).strip().splitlines() or [""]
            self.missing[name] = f"{type(error).__name__}: {text[0][:160]}"
        else:
            self.found.append(peer)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def eager_peer(model: nn.Module, calls: Sequence[Call]) -> Peer:
    """The source itself."""

    def run(sample: int) -> object:
        args, kwargs = calls[sample]
        return model(*args, **kwargs)

    return Peer("eager", run, torch.manual_seed)


def torch_compile_peer(model: nn.Module, calls: Sequence[Call]) -> Peer:
    """`torch.compile` with its defaults."""
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(model))
    run = eager_peer(compiled, calls).run
    for _ in range(2):
        for sample in range(len(calls)):
            run(sample)
    return Peer("torch_compile", run, torch.manual_seed)


def torchscript_peer(model: nn.Module, calls: Sequence[Call]) -> Peer:
    """`torch.jit.script` of the unmodified model."""
    scripted = torch.jit.script(copy.deepcopy(model))
    return Peer("torchscript", eager_peer(scripted, calls).run, torch.manual_seed)


def onnx_if_peer(model: nn.Module, calls: Sequence[Call], threads: int) -> Peer:
    """One ONNX graph with `If` and `Loop`, exported from TorchScript; it must decide as the source does."""
    scripted = torch.jit.script(copy.deepcopy(model))
    buffer = io.BytesIO()
    args = tuple(calls[0][0])
    torch.onnx.export(scripted, args, buffer, dynamo=False)  # type: ignore[arg-type]
    session = ort.InferenceSession(buffer.getvalue(), session_options(threads), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    feeds = [dict(zip(names, [arg.numpy() for arg in call[0]], strict=True)) for call in calls]  # type: ignore[attr-defined]
    outputs = [port.name for port in session.get_outputs()]
    run = session._sess.run
    for sample, call in enumerate(calls):
        expected = [x for x in torch.utils._pytree.tree_leaves(model(*call[0])) if isinstance(x, torch.Tensor)]
        actual = run(outputs, feeds[sample], None)
        np.testing.assert_allclose(actual[0], expected[0].numpy(), rtol=1e-2, atol=1e-3)
    return Peer("onnx_if", lambda sample: run(outputs, feeds[sample], None))


def oracle_peer(directory: Path, graphs: Sequence[str], threads: int) -> Peer:
    """The oracle of each sample, called as the host calls its subgraphs."""
    sessions: dict[str, Callable[..., object]] = {}
    runs = []
    for sample, key in enumerate(graphs):
        with np.load(directory / "oracles" / f"{sample}.npz") as stored:
            arrays = [np.ascontiguousarray(stored[name]).reshape(stored[name].shape) for name in stored.files]
            names = list(stored.files)
        if key not in sessions:
            sessions[key] = open_oracle(directory, key, names, threads)
        runs.append((sessions[key], arrays, _numpy_calls(directory / "oracles" / f"{sample}.pickle")))

    def run(sample: int) -> object:
        call, arrays, others = runs[sample]
        found = call(*arrays)
        for function, args in others:
            function(*args)
        return found

    return Peer("oracle", run)


def _numpy_calls(stored: Path) -> list[tuple[Callable[..., object], list[object]]]:
    """What the source itself calls of numpy on the path of a sample, which is in no graph."""
    calls = pickle.loads(stored.read_bytes()) if stored.exists() else ()
    return [(HOST_FUNCTIONS[name].call, args) for name, args in calls]


def open_oracle(directory: Path, key: str, names: Sequence[str], threads: int) -> Callable[..., object]:
    """An oracle as a function of its inputs in this order."""
    options = session_options(threads)
    options.enable_cpu_mem_arena = _has_arena(directory / "artifact")
    folder = str((directory / "oracles" / "artifact").resolve())
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    model = (directory / "oracles" / f"{key}.onnx").read_bytes()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    entry = {
        "inputs": [{"name": name} for name in names],
        "outputs": [{"name": port.name} for port in session.get_outputs()],
    }
    return make_call(session, entry, Memory(), {})


def _has_arena(artifact: Path) -> bool:
    """Whether a session of the host keeps an arena; where none does the oracle is faster without one, too."""
    entries = read_contents(artifact)["subgraphs"].values()
    return any(entry.get("settings", {}).get("arena", True) for entry in entries)


def session_options(threads: int) -> ort.SessionOptions:
    """As the host opens its sessions."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def dycl_peer(artifact: Path, calls: Sequence[Call], threads: int, device: str = "") -> Peer:
    """The compiled host."""
    host: Any = load_artifact(artifact, threads=threads, device=device).host
    given = [as_arrays(call) for call in calls]

    def run(sample: int) -> object:
        args, kwargs = given[sample]
        return host(*args, **kwargs)

    def reset(sample: int) -> None:
        host.reset()
        if hasattr(host, "seed"):
            host.seed(sample)

    return Peer("dycl", run, reset)


def as_arrays(call: Call) -> Call:
    """A call with arrays in the place of tensors."""
    args, kwargs = call
    return tuple(map_tensors(arg, _as_array) for arg in args), {k: map_tensors(v, _as_array) for k, v in kwargs.items()}


def _as_array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy()).reshape(tuple(tensor.shape))
