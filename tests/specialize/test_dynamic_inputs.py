"""Sizes and numbers that each call chooses: the program agrees with the model whatever they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dycl.diagnostics import UsageError
from dycl.ir.dimensions import DynamicInputs, parse_dynamic, read_dynamic
from dycl.ir.executor import Executor
from dycl.ir.parser import parse_ir
from dycl.ir.printer import print_ir
from dycl.pipeline import check_model
from dycl.sampling import sample_calls
from dycl.settings import Settings
from dycl.verification import verify_model
from tests.hostgen.harness import make_host, make_subject


class Batches(nn.Module):
    """A branch on a size, a loop, a size in the result."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x, y):
        if x.shape[0] > 4:
            x = x * 2
        while x.abs().max() > 1:
            x = x * 0.5
        return self.layer(x) + y, x.shape[0], x.mean(0)


class Lengths(nn.Module):
    """Two sizes, arithmetic on them, a loop over one."""

    def forward(self, x, mask):
        total = torch.zeros(x.shape[0], 4)
        for step in range(x.shape[1]):
            if mask[:, step].any():
                total = total + x[:, step] * (step + 1)
        return total, x.reshape(-1, 4).shape[0], torch.cat([x, x], 1).shape[1] // 2


class Nested(nn.Module):
    """Sizes of what lies in a dict and a list."""

    def forward(self, batch, more):
        if batch["x"].sum() > 0:
            return torch.cat([batch["x"], *more])
        return batch["x"] * batch["x"].size(0)


class Numbers(nn.Module):
    """Numbers and text that a call gives."""

    def forward(self, x, k: int = 2, scale: float = 1.0, flag: bool = True, name: str = "a"):
        for _ in range(k):
            x = x * scale
        if flag and k > 2:
            return x, f"{name}:{k}"
        if name == "b" or name.startswith("c"):
            return x - {"b": 1, "c": 2}[name], len(name), name.upper() if name else None
        return x + k, name


class CachedKeys(nn.Module):
    """Keys among the inputs, written where the call says, and read up to there: by each layer."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

    def forward(self, x, caches, pos: int):
        for layer, cache in zip(self.layers, caches, strict=True):
            cache[:, pos : pos + 1] = layer(x)
            keys = cache[:, : pos + 1]
            x = (x @ keys.transpose(1, 2)).softmax(-1) @ keys
            if x.mean() > 0:
                break
        return x


class Remembers(nn.Module):
    """State beside a size that changes from call to call."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, x):
        self.seen = self.seen + x.shape[0]
        return x.sum() if self.seen > 10 else x.sum() * 0


def _randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


CASES: list[tuple[type[nn.Module], tuple[Any, ...], DynamicInputs]] = [
    (Batches, (_randn(3, 4), _randn(3, 4)), parse_dynamic(["x:0=batch[1:64]", "y:0=batch"], [])),
    (Lengths, (_randn(2, 3, 4), torch.ones(2, 3).bool()), parse_dynamic(["x:1=n[2:9]", "mask:1=n"], [])),
    (Nested, ({"x": _randn(3, 4)}, [_randn(2, 4)]), parse_dynamic(["batch.x:0=a[2:]", "more.0:0=b[2:]"], [])),
    (Numbers, (_randn(1, 4),), parse_dynamic([], ["k", "scale", "flag", "name"])),
    (Remembers, (_randn(3, 4),), parse_dynamic(["x:0=n"], [])),
]


@pytest.mark.parametrize(("model", "example", "dynamic"), CASES, ids=lambda part: getattr(part, "__name__", ""))
def test_program_and_host_agree_with_the_model(
    model: type[nn.Module], example: tuple[Any, ...], dynamic: DynamicInputs
) -> None:
    torch.manual_seed(0)
    live = model()
    checked = check_model(live, example, {}, Settings(dynamic=dynamic))
    assert parse_ir(print_ir(checked.program)) == checked.program
    samples = list(sample_calls(live, example, {}, method="forward", sampler=None, count=15, dynamic=dynamic))
    report = verify_model(make_subject(checked, live), samples)
    assert report.calls == 16
    assert report.ties == ()
    assert not report.unreached


def test_where_a_call_writes_is_one_decision() -> None:
    torch.manual_seed(0)
    model = CachedKeys()
    example = (_randn(1, 1, 4), [_randn(1, 5, 4), _randn(1, 5, 4)], 1)
    checked = check_model(model, example, {}, Settings(dynamic=parse_dynamic([], ["pos"])))
    assert len(checked.program.blocks) < 25  # hundreds, where each end of a slice is asked for its sign and its reach
    executor = Executor(checked.program, checked.environment)
    for pos in (0, 2, 4, 5, 7, -1, -2, -6):
        x, *caches = (torch.randn(1, size, 4) for size in (1, 5, 5))
        given, wanted = [cache.clone() for cache in caches], [cache.clone() for cache in caches]
        torch.testing.assert_close(executor.call(x, given, pos), model(x, wanted, pos), equal_nan=True)
        torch.testing.assert_close(given, wanted)


class Cut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x, keep, depth=2, past=0):  # type: ignore[no-untyped-def]  # as users write it
        y = self.layers[depth](x[:, :keep] @ torch.ones(keep, 4))
        return y + past, x[:, keep:]


def test_what_the_range_of_a_number_leaves_out_needs_no_branch() -> None:
    torch.manual_seed(0)
    model, example = Cut(), (_randn(2, 5), 3, 2, -1)
    dynamic = parse_dynamic([], ["keep[1:5]", "depth[0:2]", "past[:0]"])
    checked = check_model(model, example, {}, Settings(dynamic=dynamic))
    assert parse_ir(print_ir(checked.program)) == checked.program
    free = check_model(model, example, {}, Settings(dynamic=parse_dynamic([], ["keep", "depth", "past"])))
    assert len(checked.program.blocks) <= 6 < len(free.program.blocks)
    samples = list(sample_calls(model, example, {}, method="forward", sampler=None, count=15, dynamic=dynamic))
    assert all(1 <= sample.args[1] <= 5 and 0 <= sample.args[2] <= 2 for sample in samples)
    report = verify_model(make_subject(checked, model), samples)
    assert (report.calls, report.ties) == (16, ())
    host, executor = make_host(checked.program, checked.environment), Executor(checked.program, checked.environment)
    for args, words in (
        ((0, 2, 0), "keep: compiled for 1 to 5, got 0"),
        ((3, 3, 0), "depth: compiled for 0 to 2, got 3"),
        ((3, 2, 1), "past: compiled for 0 or less, got 1"),
    ):
        for call, x in ((executor.call, example[0]), (host, example[0].numpy())):
            with pytest.raises(ValueError, match=words):
                call(x, *args)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("k[5:2]", "empty"),
        ("k[a:b]", "is not NAME"),
        ("k[7:9]", "it is 2 in the example"),
        ("scale[0:3]", "no integer"),
    ],
)
def test_a_range_that_cannot_be_is_refused(number: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_model(Numbers(), (*CASES[3][1], 2), {}, Settings(dynamic=parse_dynamic([], [number])))


def test_a_call_beyond_the_bounds_names_both() -> None:
    checked = check_model(Batches(), CASES[0][1], {}, Settings(dynamic=CASES[0][2]))
    host = make_host(checked.program, checked.environment)
    executor = Executor(checked.program, checked.environment)
    for call, args in ((executor.call, _batches(65, 65)), (host, [arg.numpy() for arg in _batches(65, 65)])):
        with pytest.raises(ValueError, match=r"compiled for batch of 1 to 64.* 65"):
            call(*args)
    for call, args in ((executor.call, _batches(3, 2)), (host, [arg.numpy() for arg in _batches(3, 2)])):
        with pytest.raises(ValueError, match=r"y: expected float32\[batch, 4\].*\[2, 4\]"):
            call(*args)


def _batches(*sizes: int) -> list[torch.Tensor]:
    return [torch.zeros(size, 4) for size in sizes]


def test_a_number_of_another_type_is_refused() -> None:
    checked = check_model(Numbers(), CASES[3][1], {}, Settings(dynamic=parse_dynamic([], ["k"])))
    host = make_host(checked.program, checked.environment)
    x = CASES[3][1][0].numpy()
    assert host(x, 3)[1] == "a:3"
    with pytest.raises(TypeError, match=r"k: expected int, got 3\.5"):
        host(x, 3.5)
    with pytest.raises(ValueError, match=r"scale: compiled for 1\.0, got 2\.0"):
        host(x, 3, 2.0)


def test_text_of_a_call_is_compared_and_looked_up() -> None:
    model = Numbers()
    checked = check_model(model, CASES[3][1], {}, Settings(dynamic=parse_dynamic([], ["name"])))
    host = make_host(checked.program, checked.environment)
    x = CASES[3][1][0]
    for name in ("a", "b", "c", ""):
        expected, found = model(x, name=name), host(x.numpy(), name=name)
        assert found[1:] == expected[1:]
    with pytest.raises(KeyError, match="cd"):
        host(x.numpy(), name="cd")


def test_dimensions_are_written_as_torch_export_has_them() -> None:
    dim = torch.export.Dim("batch", min=2, max=8)
    by_name = read_dynamic({"x": {0: dim}, "y": {0: "batch"}, "mask": None}, ["x", "y", "mask"])
    assert by_name == parse_dynamic(["x:0=batch[2:8]", "y:0=batch"], [])
    assert read_dynamic(({0: dim}, ("batch", None)), ["x", "y"]) == by_name
    assert read_dynamic({"x": {1: torch.export.Dim.DYNAMIC}}, ["x"]).dims == {"x": {1: "x_1"}}
    assert read_dynamic({"x": [{0: "a"}, {0: "b"}]}, ["x"]).dims == {"x.0": {0: "a"}, "x.1": {0: "b"}}
    assert read_dynamic({"x": {"k": {0: "a"}}}, ["x"]).dims == {"x.k": {0: "a"}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["x=batch"], "is not INPUT:DIM=NAME"),
        (["x:0=batch[5:2]"], "is empty"),
        (["x:0=batch[1:2]", "y:0=batch[1:3]"], "has two ranges"),
        (["x:0=u0"], "cannot be called"),
        (["x:0=a", "x:0=b"], "named twice"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused(options: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_dynamic(options, [])


@pytest.mark.parametrize(
    ("options", "numbers", "words"),
    [
        (["z:0=batch"], [], "no input 'z'"),
        (["x:2=batch"], [], "has no dimension 2"),
        (["x:0=batch[5:9]"], [], "has the size 3"),
        (["x:0=n", "y:1=n"], [], "n is 3 in the example's x and 4 in its y"),
        ([], ["x"], "is no number and no text"),
    ],
)
def test_what_does_not_fit_the_example_is_refused(options: list[str], numbers: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_model(Batches(), CASES[0][1], {}, Settings(dynamic=parse_dynamic(options, numbers)))
