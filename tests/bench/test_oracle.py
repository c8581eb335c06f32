"""The oracle of a call is one graph of its path: it computes what eager does, and what the host reads on the way."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
import torch

from bench.oracle import Recorder, build_graph, graph_key
from bench.peers import session_options
from dycl.benchmark import measure_host
from dycl.loading import LoadedModel, load_model
from dycl.pipeline import Built, compile_model
from dycl.settings import Settings

SETTLE = Path(__file__).parents[2] / "docs" / "examples" / "settle.py"


@pytest.fixture(scope="module")
def settle() -> LoadedModel:
    return load_model(str(SETTLE))


@pytest.fixture(scope="module")
def built(settle: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Built:
    place = tmp_path_factory.mktemp("bench") / "settle"
    return compile_model(settle.model, settle.args, settle.kwargs, Settings(verify=False), output=place)


def test_an_oracle_is_its_path(settle: LoadedModel, built: Built) -> None:
    recorder = Recorder(built.checked.program, built.checked.environment)
    keys = set()
    for seed in range(6):
        torch.manual_seed(seed)
        x = torch.randn(1, 4) * 4
        path = recorder.record((x,), {})
        keys.add(graph_key(path))
        model = build_graph(path, built.artifact.directory)
        options = session_options(1)
        folder = str(built.artifact.directory)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        session = ort.InferenceSession(model.SerializeToString(), options)
        found = session.run(None, {name: tensor.numpy() for name, tensor in path.inputs.items()})
        expected, steps = settle.model(x)
        np.testing.assert_allclose(found[-1], expected.detach().numpy(), rtol=1e-5, atol=1e-6)
        # Two gates and one test for each round of the loop and one more are read, and the result is handed out.
        assert len(found) == 2 + (steps + 1) + 1
        assert len(path.steps) == 1 + 2 + steps + 1
    assert len(keys) > 2


class Words(torch.nn.Module):
    """The sum of what stands for the words of a phrase, as far as they are known."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(8, 3)

    def forward(self, phrase: SimpleNamespace) -> torch.Tensor:
        found = self.table.weight[phrase.first]
        if phrase.second is not None:
            found = found + self.table.weight[phrase.second]
        return found


def test_words_of_the_caller_are_no_constants_of_the_oracle(tmp_path: Path) -> None:
    """Other words go the same path: one graph for both, which computes what each call asks."""
    examples = [((SimpleNamespace(first=a, second=b),), {}) for a, b in ((1, 2), (3, 4), (5, None))]
    model, place = Words().eval(), tmp_path / "words"
    settings = Settings(verify=False)
    built = compile_model(model, *examples[0], settings, output=place, sampler=lambda seed: examples[seed % 3][0])
    recorder = Recorder(built.checked.program, built.checked.environment)
    paths = [recorder.record(args, kwargs) for args, kwargs in examples]
    assert graph_key(paths[0]) == graph_key(paths[1]) != graph_key(paths[2])
    options = session_options(1)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(place))
    session = ort.InferenceSession(build_graph(paths[0], place).SerializeToString(), options)
    for path, (args, _) in zip(paths[:2], examples, strict=False):
        found = session.run(None, {name: tensor.numpy() for name, tensor in path.inputs.items()})
        np.testing.assert_allclose(found[-1], model(*args).detach().numpy(), rtol=1e-6)


def test_what_a_call_is_made_of(built: Built) -> None:
    x = np.full((1, 4), 0.1, np.float32)
    report = measure_host(built.artifact.directory, [((x,), {})], threads=1, repeat=30)
    host = built.artifact.host
    host.reset()
    host(x)
    assert report.decisions == len(host.decisions)
    assert report.dispatches == report.decisions + 1
    assert 0 <= report.host_share < 1
    assert sum(count for count, _ in report.subgraphs.values()) == report.dispatches * report.watched


def test_results_of_other_sizes_are_another_graph(tmp_path: Path) -> None:
    """How many are chosen is known in the call; each size has a graph that may take it for granted."""

    class Chosen(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.exp(x)[x > 0]

    x = torch.arange(-3.0, 3.0)
    built = compile_model(Chosen(), (x,), {}, Settings(verify=False), output=tmp_path / "chosen")
    recorder = Recorder(built.checked.program, built.checked.environment)
    keys = [graph_key(recorder.record((given,), {})) for given in (x, x + 1, x.flip(0))]
    assert keys[0] == keys[2] != keys[1]
