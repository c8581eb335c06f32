"""Small arrays that the host joins: the same to the bit, new arrays, and where it is not to be done, not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import dycl
from dycl.diagnostics import UNKNOWN
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import CallFunction, TensorOp
from dycl.ir.values import Lit, Ref, Seq, SeqKind, TensorType, Value, ValueId
from dycl.passes.host_joins import Join, find_join
from dycl.pipeline import check_model, explain_decisions
from dycl.settings import Settings

DTYPES = ("bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")
SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (3,), (0,), (2, 3), (2, 0, 3))


def join(name: str, tensors: list[torch.Tensor], dim: int) -> TensorOp:
    given = [Value(ValueId(index), kind_of(tensor)) for index, tensor in enumerate(tensors)]
    result = Value(ValueId(99), kind_of(getattr(torch, name)(tensors, dim=dim)))
    parts = Seq(SeqKind.LIST, tuple(Ref(value.id) for value in given))
    return TensorOp(target=CallFunction(f"torch.{name}"), args=(parts, Lit(dim)), results=(result,))


def kind_of(tensor: torch.Tensor) -> TensorType:
    return TensorType(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))


def find(name: str, tensors: list[torch.Tensor], dim: int) -> Join | None:
    return find_join(join(name, tensors, dim), {ValueId(i): kind_of(tensor) for i, tensor in enumerate(tensors)})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_joins_are_those_of_torch(dtype: str, shape: tuple[int, ...]) -> None:
    """As the host writes them, with numpy, and as the reference executor does."""
    torch.manual_seed(0)
    tensors = [(torch.randn(shape) * 3).to(getattr(torch, dtype)) for _ in range(3)]
    if dtype == "float32" and tensors[0].numel():
        tensors[0].view(-1)[0] = torch.nan
    tensors.append(tensors[0])
    for name in ("stack", "cat"):
        rank = len(shape) + (name == "stack")
        for dim in range(-rank, rank):
            found = find(name, tensors, dim)
            assert found is not None
            op = found.operation(Value(ValueId(99), TensorType(dtype, ())), UNKNOWN)
            text = HOST_FUNCTIONS[op.function].text
            wanted = getattr(torch, name)(tensors, dim=dim)
            texts = [
                text.format("arrays", found.dim),
                *(["np.array(arrays)"] if (name, found.dim) == ("stack", 0) else []),
            ]
            for written in texts:
                array = eval(written, {"np": np, "arrays": [tensor.numpy() for tensor in tensors]})
                assert (array.dtype, array.shape) == (wanted.numpy().dtype, tuple(wanted.shape))
                assert array.tobytes() == wanted.contiguous().numpy().tobytes()
                assert not any(np.shares_memory(array, tensor.numpy()) for tensor in tensors)


def test_what_torch_converts_or_passes_over_is_left_to_it() -> None:
    x = torch.zeros(2, 3)
    assert find("cat", [x, x.double()], 0) is None
    assert find("cat", [x, torch.zeros(0)], 0) is None
    assert find("cat", [torch.zeros(0), x], 0) is None
    assert find("cat", [x.bfloat16(), x.bfloat16()], 0) is None
    assert find("cat", [torch.zeros(64, 64), x.expand(64, 2, 3)[:, 0].repeat(1, 22)[:, :64]], 0) is None
    assert find("cat", [x, torch.zeros(0, 3)], 0) is not None


class Collects(nn.Module):
    """Collects what each step gives; the ways out join it in several manners."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))

    def forward(self, x):
        steps, sums = [], []
        for number, layer in enumerate(self.layers):
            x = torch.tanh(layer(x))
            steps.append(x[0])
            sums.append(x.sum(dim=1))
            if x[0, 0].item() > 0.5:
                if number == 0:
                    return torch.stack(steps), torch.stack(steps, 1), x
                if number == 1:
                    both = torch.stack([*steps, steps[0]])
                    return both, torch.cat(sums), both
                return (
                    torch.cat([steps[0], sums[0].double()]),
                    torch.stack(sums).mul(2),
                    torch.cat([steps[0], steps[1]]),
                )
        found = torch.stack(steps)
        found[0] = 7
        return found, torch.stack(sums, dim=-1), steps[0]


def sample(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    x = torch.randn(1, 3) * 3
    if seed % 7 == 3:
        x[0, 1] = (torch.nan, torch.inf)[seed % 2]
    return x


@pytest.fixture(scope="module")
def collects(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Callable[..., object], str]:
    model, directory = Collects().eval(), tmp_path_factory.mktemp("collects") / "out"
    compiled = dycl.compile(model, sample(0), output=directory, sample_inputs=lambda seed: (sample(seed),))
    return model, compiled, (directory / "host.py").read_text()


def test_a_model_gives_what_eager_gives(collects: tuple[nn.Module, Callable[..., object], str]) -> None:
    model, compiled, _ = collects
    kept, ways = [], set()
    for seed in range(60):
        x = sample(seed)
        wanted, found = model(x), compiled(x.numpy())
        ways.add(tuple(wanted[0].shape))
        for mine, theirs in zip(found, wanted, strict=True):
            assert (mine.dtype, mine.shape) == (theirs.detach().numpy().dtype, tuple(theirs.shape))
            np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
            kept.append((mine, mine.copy()))
    assert len(ways) >= 3
    for array, as_it_was in kept:
        np.testing.assert_array_equal(array, as_it_was)


def test_where_all_is_there_the_host_joins(tmp_path: Path) -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = Collects().layers

        def forward(self, x):
            steps = []
            for layer in self.layers:
                x = torch.tanh(layer(x))
                steps.append(x)
                if x.sum().item() > 0.4:
                    break
            return torch.stack(steps), torch.cat(steps)

    model = Steps().eval()
    notes = explain_decisions(check_model(model, (sample(0),), {}, Settings()))
    texts = [note.text for note in notes if note.step == "pin-to-host-late"]
    assert any(
        text.startswith("stack: done by the host, which looks at it, and has what it is made of (") for text in texts
    )
    compiled = dycl.compile(model, sample(0), output=tmp_path / "out", sample_inputs=lambda seed: (sample(seed),))
    host = (tmp_path / "out" / "host.py").read_text()
    assert "np.array([" in host and "np.concatenate([" in host and "_stack" not in host and "_cat" not in host
    for seed in range(20):
        for mine, theirs in zip(compiled(sample(seed).numpy()), model(sample(seed)), strict=True):
            np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
