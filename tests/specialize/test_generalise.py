"""Loops close: numbers and lists that differ from round to round become run-time values, and their blocks run."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dycl.ir.executor import Executor
from dycl.ir.printer import print_ir
from dycl.ir.verifier import verify
from dycl.passes.specialize.exits import Exit
from dycl.passes.specialize.specializer import _Attempt, specialize


class Decoder(nn.Module):
    """Greedy decoding of up to `steps` words: a counter, a growing list, a recurrent state."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.embed = nn.Embedding(8, 4)
        self.cell = nn.GRUCell(4, 4)
        self.out = nn.Linear(4, 8)

    def forward(self, h):
        word = torch.zeros(1, dtype=torch.long)
        words = []
        for step in range(self.steps):
            h = self.cell(self.embed(word), h)
            word = self.out(h).argmax(dim=1)
            if word.item() == 7 and step > 2:
                break
            words.append(word.item())
        return words, step


class TwoCounters(nn.Module):
    """Two counters of which one goes down."""

    def forward(self, x):
        up, down = 0, 100
        while x.abs().sum() > 0.01:
            x = x * 0.8
            up += 2
            down -= 1
            if down < 60:
                break
        return x, up, down, up * down


class Nested(nn.Module):
    """A dynamic loop inside a dynamic loop, with sums of run-time numbers."""

    def forward(self, x):
        total, rounds = 0.0, 0
        while x.max() > 0.2:
            y = x
            while y.sum() > 0.5:
                y = y * 0.6
                total += y.sum().item()
                rounds += 1
            x = x * 0.7
        return total, rounds


class LayersAreStatic(nn.Module):
    """More layers than variants are allowed: the index is needed, so it is pinned and the loop is unrolled."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(14)])

    def forward(self, x):
        for i in range(len(self.layers)):
            x = torch.tanh(self.layers[i](x)) * 1.5
            if x.sum() > 1.5:
                return x, i
        return x, -1


class TensorCounter(nn.Module):
    """A counter that is a tensor of known value at first."""

    def forward(self, x):
        count = torch.tensor(0)
        while x.sum() > 0.1 and count < 30:
            x = x * 0.8
            count += 1
        return x, count


def run(model, make):
    """Specialise on one input, compare on many; the program and the blocks that ran."""
    made = specialize(model, (make(0),))
    verify(made.program, after="specialize")
    executor = Executor(made.program, made.environment)
    eager = copy.deepcopy(model)
    visited = set()
    for seed in range(25):
        x = make(seed)
        with torch.no_grad():
            expected = eager(x)
        torch.testing.assert_close(executor.call(x), expected, rtol=1e-4, atol=1e-5)
        visited |= {block for block, _ in executor.decisions}
    return made.program, visited


def vector(seed):
    return torch.rand(1, 4, generator=torch.Generator().manual_seed(seed)) * (seed % 5)


@pytest.mark.parametrize("build", [TwoCounters, Nested, LayersAreStatic, TensorCounter])
def test_every_generalised_block_is_executed(build):
    torch.manual_seed(3)
    program, visited = run(build(), vector)
    deciding = {block.id for block in program.blocks if type(block.end).__name__ == "Branch"}
    assert len(visited) >= 0.6 * len(deciding)


def test_the_size_of_a_decoding_loop_does_not_depend_on_its_length():
    torch.manual_seed(0)
    sizes = []
    for steps in (20, 100):
        program, _ = run(Decoder(steps), vector)
        sizes.append(len(program.blocks))
    assert sizes[0] == sizes[1] <= 16


def test_counters_dissolve_into_few_blocks():
    program, _ = run(TwoCounters(), vector)
    assert len(program.blocks) <= 12


class OptionalAppends(nn.Module):
    """A list of tensors that grows on some paths."""

    def forward(self, x):
        kept = []
        for i in range(10):
            x = x * 0.9
            if x[0, i % 4] > 0.4:
                kept.append(x)
        return torch.stack(kept) if kept else x


class AppendsForEver(nn.Module):
    """A list of tensors that grows until the data says stop."""

    def forward(self, x):
        kept = []
        while x.sum() > 0.1:
            x = x * 0.9
            kept.append(x)
        return kept


class TensorGrows(nn.Module):
    """A sequence that is written on until the data says stop, with its length, a mask and positions beside it."""

    def __init__(self, rounds=100):
        super().__init__()
        self.rounds = rounds

    def forward(self, x):
        tokens = x[:, :1]
        cache = None
        length = 1
        for step in range(self.rounds):
            mask = torch.ones(1, tokens.shape[1])
            cache = tokens if cache is None else torch.cat([cache, tokens[:, -1:] * 0.5], 1)
            new = (tokens * mask * cache[:, :length]).sum() * 0.1 + x.mean() * (step + 1) / tokens.size(1)
            if new > 1.4:
                break
            tokens = torch.cat([tokens, new.reshape(1, 1)], dim=1)
            length += 1
        return tokens, length, step


@pytest.mark.parametrize("build", [OptionalAppends, AppendsForEver, TensorGrows])
def test_what_grows_is_a_loop(build):
    program, _ = run(build(), vector)
    assert len(program.blocks) < 50


def test_the_blocks_of_a_growing_tensor_do_not_depend_on_the_rounds():
    assert len({len(run(TensorGrows(rounds), vector)[0].blocks) for rounds in (12, 100, 1000)}) == 1


class Beams(nn.Module):
    """Beam search as it is often written: beams are tuples in a list that is sorted by a key, the ended ones apart."""

    def __init__(self, words=12, hidden=16, size=2, longest=6):
        super().__init__()
        self.size, self.longest = size, longest
        self.embed = nn.Embedding(words, hidden)
        self.cell = nn.LSTMCell(hidden, hidden)
        self.out = nn.Linear(hidden, words)

    def forward(self, x):
        h = torch.tanh(x.repeat(1, 4))
        beams, finished = [(0.0, [0], (h, torch.zeros_like(h)))], []
        for _ in range(self.longest):
            candidates = []
            for score, words, state in beams:
                if words[-1] == 1:
                    finished.append((score, words))
                    continue
                h, c = self.cell(self.embed(torch.tensor([words[-1]])), state)
                logs, found = torch.log_softmax(self.out(h), dim=-1).squeeze(0).topk(self.size)
                for log, word in zip(logs.tolist(), found.tolist(), strict=True):
                    candidates.append((score + log, [*words, word], (h, c)))
            if not candidates:
                break
            candidates.sort(key=lambda beam: beam[0], reverse=True)
            beams = candidates[: self.size]
        finished += [(score, words) for score, words, _ in beams]
        best = max(finished, key=lambda beam: beam[0] / len(beam[1]))
        return torch.tensor(best[1]), best[0]


@pytest.mark.slow
def test_beams_of_any_number_are_ordered_by_their_scores():
    torch.manual_seed(0)
    model = Beams().eval()
    with torch.no_grad():
        model.out.weight *= 4
    run(model, vector)


class NamesInLoop(nn.Module):
    """A loop over names that are known, in a loop over a sequence that grows."""

    def forward(self, x):
        length = 3
        while length < 40:
            inputs = {"tokens": x[:, -1:], "scores": x * 2}
            for name in ["tokens", "mask", "types", "other"]:
                value = inputs.get(name)
                if value is not None and value.shape[-1] != 1:
                    inputs[name] = value[:, -1:].clone()
            x = torch.cat([x, inputs["tokens"] * 0.9], dim=1)
            length += 1
            if inputs["tokens"].sum() < 1:
                break
        return x


def test_what_remains_of_known_names_is_no_list_that_grows() -> None:
    model = NamesInLoop()
    made = specialize(model, (torch.ones(1, 3),))
    assert "list[" not in print_ir(made.program)
    executor = Executor(made.program, made.environment)
    for size in (0.1, 3.0, 100.0, 1e9):
        torch.testing.assert_close(executor.call(torch.full((1, 3), size)), model(torch.full((1, 3), size)))


class CountedPositions(nn.Module):
    """A sequence that grows, and a counter beside it that makes the positions."""

    def forward(self, x):
        length = x.shape[1]
        while x[:, -1].sum() > 1 and length < 40:
            x = torch.cat([x, x[:, -1:] * 0.5], dim=1)
            length += 1
            x = x + torch.arange(length).view(1, -1) * 0.0
        return x


def test_a_counter_that_is_a_size_says_so() -> None:
    """An exporter that does not know it refuses to add tensors of both sizes."""
    text = print_ir(specialize(CountedPositions(), (torch.ones(1, 3) * 8,)).program)
    counted = [line for line in text.splitlines() if "length: int" in line]
    assert counted
    assert all("length: int[" in line for line in counted)


def test_what_is_learned_where_a_path_ends_begins_the_compile_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """No instruction runs after it that would: the program would stand on an assumption that does not hold."""
    close = _Attempt._close

    def learn_late(attempt: _Attempt, leaving: Exit) -> None:
        close(attempt, leaving)
        if not attempt.hints.large_integers:  # which stands for whatever is learned
            attempt.hints.large_integers = True
            attempt.machine.postpone("it is learned late")

    monkeypatch.setattr(_Attempt, "_close", learn_late)
    assert specialize(torch.nn.ReLU(), (torch.zeros(2),)).attempts == 2


class GrowsOften(nn.Module):
    """A sequence that grows in most rounds, beside a counter of all of them; a round comes by several joins."""

    def forward(self, x):
        kept, step = x[:, :1], 1
        while step < 50:
            x = x * 0.9 if x[0, 0] > 0 else x + 0.5
            if x[0, 1] > 1:
                x = x.flip(1)
            if x[0, 2] < 2:
                kept = torch.cat([kept, x[:, :1]], dim=1)
            step += 1
            if kept.sum() > 9:
                break
        return kept, step


class FirstMaskIsKnown(nn.Module):
    """The first mask of the loop has a size that is known; it is that of the sequence all the same."""

    def forward(self, x):
        kept = x[:, :1]
        while kept.shape[1] < 50:
            mask = torch.ones(1, 1) if kept.shape[1] == 1 else torch.ones(1, kept.shape[1])
            x = x * 0.9 if x[0, 0] > 0 else x + 0.5
            kept = torch.cat([kept * mask, x[:, :1]], dim=1)
            if kept.sum() > 9:
                break
        return kept


@pytest.mark.parametrize(("build", "blocks"), [(GrowsOften, 20), (FirstMaskIsKnown, 14)])
def test_what_does_not_move_together_is_learned_at_all_joins_at_once(build: type[nn.Module], blocks: int) -> None:
    program, _ = run(build(), vector)
    assert len(program.blocks) <= blocks
    assert specialize(build(), (vector(0),)).attempts <= 3


class Reads(nn.Module):
    """A decoder that reads the whole prompt first, and in each later round the one word since."""

    def __init__(self, ways=()):
        super().__init__()
        self.ways = ways
        self.embed = nn.Embedding(8, 4)
        self.out = nn.Linear(4, 8)

    def read(self, tokens, start):
        before, count = 0, 0
        for now in range(start, start + 12):
            words = tokens[:, before:now]
            h = self.embed(words).sum(1)
            if words.shape[1] > 1:
                h = h * 2
            if "loop" in self.ways:
                while h.norm() > 1:
                    h = h * 0.8
                    count += 1
            word = self.out(h - 0.3 * before).argmax(1)
            before = now
            if "skip" in self.ways and word.item() == 5:
                count += 1
                continue
            tokens[:, now] = word
            if word.item() == 7:
                break
        return before, count

    def forward(self, prompt):
        start = prompt.shape[1]
        tokens = torch.cat([prompt, torch.zeros(1, 26, dtype=torch.long)], dim=1)
        found = self.read(tokens, start)
        return tokens, found, self.read(tokens, start + 2) if "twice" in self.ways else None


@pytest.mark.parametrize(("way", "blocks"), [("", 11), ("skip", 16), ("loop", 20), ("twice", 41)])
def test_integers_keep_their_distance_from_the_second_round_on(way: str, blocks: int) -> None:
    """The first round reads three words; in the others no block asks how many they are."""
    torch.manual_seed(1)
    model = Reads((way,)).eval()
    made = specialize(model, (torch.zeros(1, 3, dtype=torch.long),))
    verify(made.program, after="specialize")
    assert len(made.program.blocks) <= blocks
    executor = Executor(made.program, made.environment)
    taken = set()
    for seed in range(20):
        prompt = torch.randint(0, 8, (1, 3), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            torch.testing.assert_close(executor.call(prompt), model(prompt))
        taken.add(tuple(executor.decisions))
    assert len(taken) > 1
