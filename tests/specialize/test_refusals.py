"""What cannot be compiled soundly is refused at the user's own line, with a code and something to do about it.

The refused line carries the comment `# refused`; `text` is what the caret points at.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import datetime
import linecache
import random
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from dycl.diagnostics import UnsupportedError, render
from dycl.passes.specialize import joins
from dycl.passes.specialize.specializer import specialize

X = torch.arange(12.0).reshape(3, 4) - 5
REGISTRY: dict[str, int] = {}


class Made(nn.Module):
    """A model around a plain function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.norm = nn.Linear(4, 4)
        self.register_buffer("memory", torch.zeros(4))
        self.noisy = nn.Dropout(0.5)

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)  # refused


def as_array(self, x):
    return x.numpy().tobytes()  # refused


def split_by_tensor(self, x):
    return torch.tensor_split(x, torch.tensor([1, 2]))  # refused


def writes_array_of_input(self, x):
    x.numpy()[0] = 1.0  # refused
    return x * 2


def writes_array_of_weight(self, x):
    self.norm.weight.detach().numpy()[0] += 1.0  # refused
    return self.norm(x)


def writes_array_of_tensor(self, x):
    y = x * 2
    array = y.numpy()
    array[0] = 1.0  # refused
    return y + 1


def by_hand(self, x):
    if x.sum() > 0:
        return torch.randn(3, 4)  # refused
    return x


def sampled(self, x):
    return torch.multinomial(x.softmax(1), 1)  # refused


def dropped(self, x):
    return self.noisy.train()(x)  # refused


def hashed(self, x):
    return hash(x.sum().item())  # refused


def text_read(self, x):
    return f"{x.sum().item():.2f}".encode()  # refused


def shared(self, x):
    held = memoryview(bytearray(4))
    if x.sum() > 0:  # refused
        return x
    return x * len(held)


def registers(self, x):
    REGISTRY["calls"] = 1  # refused
    return x


def endless(self, x):
    seen = 0

    def again(y):
        nonlocal seen
        seen += 1
        return again(y * 2) if y.sum() < 100 else y  # refused

    return again(x), seen


def always_fails(self, x):
    raise ValueError("never fits")  # refused


def timed(self, x):
    start = datetime.datetime.now()  # refused
    return x, start.second


def rolled(self, x):
    return x * random.random()  # refused


def identified(self, x):
    return id(x)  # refused


def squeezed(self, x):
    y = x
    y.squeeze_(0)  # refused
    return y


def resized(self, x):
    y = x.clone()
    y.resize_(100)  # refused
    return y


def transposes_what_is_listed(self, x):
    kept = []
    while x.sum() < 10:
        x = x + 1
        kept.append(x)
    if len(kept) > 2:
        kept[-1].t_()  # refused
    return x


class Step:
    def __init__(self, x):
        self.x = x


def steps_until(x):
    kept = []
    while x.sum() < 10:
        x = x + 1
        kept.append(Step(x))
    return kept


def compares_what_is_listed(self, x):
    kept = steps_until(x)
    return kept[0] == kept[-1]  # refused


def seeks_what_is_listed(self, x):
    kept = steps_until(x)
    first = [kept[0]]
    return kept[-1] in first  # refused


def is_a_text(self, x):
    name = f"n{x.sum().item()}"
    other = name + ""
    return other is name  # refused


def hashes_what_is_listed(self, x):
    kept = steps_until(x)
    seen = {kept[0]}
    seen.add(kept[-1])  # refused
    return len(seen)


def writes_beside_an_object(self, x, tree):
    x.add_(1)  # refused
    return x + tree.value


def writes_what_may_be_an_array_of_input(self, x, y):
    array = x.numpy()
    if y.sum() > 0:
        array = array * 2
    array[0] = 5  # refused
    return torch.from_numpy(array)


def moves_a_list_of_the_callers(self, data):
    data["second"] = data["first"]
    return len(data)


def returns_object(self, x):
    return object()


def returns_counts(self, x):
    return collections.Counter([1, 1, 2])  # refused: its keys would become text


def moved(self, x):
    self.norm.to("meta")  # refused
    return x


def compared(self, x):
    return torch.equal(x, x.double())  # refused


def in_half(self, x):
    with torch.autocast("cpu"):  # refused
        return self.norm(x)


@dataclass(frozen=True)
class Refusal:
    """A function that is refused, with which code, and what the caret points at."""

    function: Callable[..., Any]
    code: str
    text: str
    inputs: tuple[Any, ...] = (X,)


REFUSALS = [
    Refusal(as_array, "DY203", "x.numpy().tobytes()"),
    Refusal(split_by_tensor, "DY209", "torch.tensor_split("),
    Refusal(writes_array_of_input, "DY212", "x.numpy()[0]"),
    Refusal(writes_array_of_weight, "DY206", "self.norm.weight.detach().numpy()[0]"),
    Refusal(writes_array_of_tensor, "DY301", "array[0]"),
    Refusal(by_hand, "DY202", "torch.randn(3, 4)"),
    Refusal(sampled, "DY202", "torch.multinomial("),
    Refusal(dropped, "DY202", "self.noisy.train()(x)"),
    Refusal(hashed, "DY204", "hash(x.sum().item())"),
    Refusal(text_read, "DY204", 'f"{x.sum().item():.2f}".encode()'),
    Refusal(shared, "DY205", "x.sum() > 0"),
    Refusal(registers, "DY206", 'REGISTRY["calls"]'),
    Refusal(endless, "DY208", "return again(y * 2)"),
    Refusal(always_fails, "DY214", "raise ValueError"),
    Refusal(timed, "DY210", "datetime.datetime.now()"),
    Refusal(rolled, "DY210", "random.random()"),
    Refusal(identified, "DY210", "id(x)"),
    Refusal(squeezed, "DY211", "y.squeeze_(0)"),
    Refusal(resized, "DY211", "y.resize_(100)"),
    Refusal(transposes_what_is_listed, "DY211", "kept[-1].t_()"),
    Refusal(compares_what_is_listed, "DY204", "kept[0] == kept[-1]"),
    Refusal(seeks_what_is_listed, "DY204", "kept[-1] in first"),
    Refusal(is_a_text, "DY204", "other is name"),
    Refusal(hashes_what_is_listed, "DY204", "seen.add(kept[-1])"),
    Refusal(writes_beside_an_object, "DY212", "x.add_(1)", (X, SimpleNamespace(value=torch.ones(4)))),
    Refusal(writes_what_may_be_an_array_of_input, "DY212", "array[0]", (X, torch.ones(2))),
    Refusal(moves_a_list_of_the_callers, "DY212", "return self.function(self", ({"first": [X]},)),
    Refusal(returns_object, "DY213", "return self.function"),
    Refusal(returns_counts, "DY213", "return self.function"),
    Refusal(moved, "DY206", 'self.norm.to("meta")'),
    Refusal(compared, "DY201", "torch.equal("),
    Refusal(in_half, "DY203", 'torch.autocast("cpu")'),
]


def refusal(model: nn.Module, inputs: tuple[Any, ...]) -> UnsupportedError:
    """The refusal of a model."""
    with pytest.raises(UnsupportedError) as caught:
        specialize(model, inputs)
    return caught.value


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.function.__name__)
def test_refused_at_the_users_line(case: Refusal) -> None:
    """Code, line, column and hint; and nothing is left on the model."""
    model = Made(case.function).eval()
    before = _snapshot(model)
    error = refusal(model, copy.deepcopy(case.inputs))
    line = linecache.getline(error.loc.file, error.loc.line)
    assert error.code == case.code, render(error)
    assert line.rstrip().endswith("# refused"), render(error)
    assert line[error.loc.column :].startswith(case.text), render(error)
    assert error.hint, render(error)
    assert _snapshot(model) == before
    assert not REGISTRY


def _snapshot(model: nn.Module) -> dict[str, Any]:
    plain = {f"{path}.{name}": value for path, part in model.named_modules() for name, value in vars(part).items()}
    found = {name: repr(value) for name, value in plain.items() if not name.endswith((".function", "._modules"))}
    return found | {name: value.tolist() for name, value in model.state_dict().items()}


def test_a_program_that_does_not_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on the number of blocks ends a compile that would not end."""
    monkeypatch.setattr(joins, "MAX_BLOCKS", 8)

    def many(self, x):
        for column in range(4):
            x = x + 1 if x[0, column] > 0 else x * self.memory
            if x.sum() > column:
                x = x.sin()
        return x

    error = refusal(Made(many), (X,))
    assert error.code == "DY207" and error.hint


def test_the_same_tensor_twice() -> None:
    """Two inputs are never one."""
    assert refusal(Made(lambda self, x, y: x + y), (X, X)).code == "DY213"


def test_two_inputs_in_one_memory() -> None:
    """A write to one would change the other."""
    error = refusal(Made(lambda self, x, y: x + y), (X, X[0]))
    assert error.code == "DY213" and error.hint


def test_inputs_that_do_not_fit() -> None:
    """The example is called as the model is."""
    assert refusal(nn.Linear(4, 4), (X, X * 1)).code == "DY213"


def test_state_that_shares_memory() -> None:
    """Two buffers in one memory, one of which is written."""

    class Shares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.zeros(3, 4))
            self.register_buffer("row", self.table[0])

        def forward(self, x):
            self.table.add_(x)
            return self.row * 1

    error = refusal(Shares(), (X,))
    assert error.code == "DY301" and error.hint


def test_the_model_is_as_it_was_when_the_compile_fails_late() -> None:
    """Attributes written before the refusal are put back."""

    def late(self, x):
        self.calls = 1
        self.memory.add_(1)
        if x.sum() > 0:
            self.kept = [x]
        return torch.rand(3)

    model = Made(late)
    before = _snapshot(model)
    with contextlib.suppress(AttributeError):
        refusal(model, (X,))
    assert _snapshot(model) == before and not hasattr(model, "calls") and not hasattr(model, "kept")


def test_an_operator_whose_shape_rule_is_wrong_is_refused() -> None:
    class Packs(torch.nn.Module):
        def forward(self, x, lengths):
            return torch._pack_padded_sequence(x, lengths, False)[0]

    with pytest.raises(UnsupportedError, match=r"DY201.*_pack_padded_sequence"):
        specialize(Packs(), (torch.zeros(3, 2, 4), torch.tensor([3, 1])))
