"""A profile makes usual ways short, and changes no result."""

from __future__ import annotations

import torch
from torch import nn

from dycl.ir.executor import Executor
from dycl.ir.nodes import Dispatch
from dycl.pipeline import Checked, check_model, explain_decisions
from dycl.settings import Settings


class Gated(nn.Module):
    """Three layers, each behind a gate that is nearly always open; the last call that was not is remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.closed = 0

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        steps = 0
        for layer in self.layers:
            if x.abs().amax() < 3:
                x = torch.tanh(layer(x))
                steps += 1
            else:
                self.closed += 1
                x = x / 2
        return x, steps


def sample(seed: int) -> tuple[torch.Tensor, ...]:
    """Small numbers; one time in ten larger ones."""
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)).clamp(-2, 2)
    return (x * 5 if seed % 10 == 3 else x,)


def check(profile: int) -> Checked:
    torch.manual_seed(0)
    return check_model(Gated().eval(), sample(0), {}, Settings(profile=profile), sampler=sample)


class Counting(Executor):
    """Counts dispatches."""

    dispatches = 0

    def _run_dispatch(self, op: Dispatch, values: dict[int, object]) -> None:  # type: ignore[override]
        self.dispatches += 1
        super()._run_dispatch(op, values)  # type: ignore[arg-type]


def test_usual_calls_take_fewer_dispatches_and_all_return_the_same() -> None:
    checked = {profile: check(profile) for profile in (0, 16)}
    torch.manual_seed(0)
    model = Gated().eval()
    runs = {profile: Counting(each.program, each.environment) for profile, each in checked.items()}
    spent: dict[int, list[int]] = {profile: [] for profile in runs}
    for seed in range(30):
        with torch.no_grad():
            x, steps = model(*sample(seed))
        for profile, run in runs.items():
            run.dispatches = 0
            found = run.call(*sample(seed))
            spent[profile].append(run.dispatches)
            assert isinstance(found, tuple)
            assert torch.equal(found[0], x) and found[1] == steps
            assert run.state == {"closed": model.closed}
    assert model.closed > 2
    assert sorted(spent[0])[20] == 4
    assert sorted(spent[16])[20] == 1  # most calls
    notes = [note for note in explain_decisions(checked[16]) if note.step == "speculate"]
    assert any(note.done for note in notes)
    assert not [note for note in explain_decisions(checked[0]) if note.step == "speculate"]
