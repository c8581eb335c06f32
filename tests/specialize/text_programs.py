"""Small models that write tensors into text."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from tests.specialize.programs import Case, vectors


def matrices(seed: int) -> tuple[torch.Tensor, ...]:
    """Numbers of few digits, so that a text is the same wherever they are computed; some are special."""
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)).mul(8).round() / 4
    if seed % 4 == 3:
        x[1, 2] = (torch.nan, torch.inf, 0.0)[seed % 3]
    return (x * 10.0 ** (seed % 7 - 3),)


class FiniteCheck(nn.Module):
    """The assertion of solvers."""

    def forward(self, x):
        y = x * 2
        assert torch.isfinite(y).all(), f"non-finite values in state `y`: {y}"
        return y


class EveryForm(nn.Module):
    """Each way to ask for the text; without dimensions a format is the number's."""

    def forward(self, x):
        y, s = x * 2, x[0, 0]
        texts = [f"{y}", f"{y!r}", f"{y!s:>3}", str(y), repr(y), format(y), "{} {!r}".format(y, s), "%s|%r" % (y, s)]
        texts += [f"{s}", f"{s:.3f}", str(s), "{:8.2e}".format(s), "%.2f" % s, "%s" % s, f"{s!s}", f"{[y, (s, 1)]}"]
        positive = y > 0
        texts.append(f"{positive} {positive.sum()} {positive.sum()!r} {positive.int()} {positive.any()!s}")
        return texts, f"{y.double()} {y[:0]} {y[:0].int()}"


class SizedText(nn.Module):
    """A tensor whose size only the run knows."""

    def forward(self, x):
        kept = x[x > 0]
        if len(kept) > 5:
            return f"many: {kept}"
        return str(kept)


class WrittenLater(nn.Module):
    """The text is of what the tensor was then."""

    def forward(self, x):
        y = x + 1
        before = f"{y}"
        y.mul_(2)
        if y.sum() > 20:
            raise ValueError(before, str(y))
        return before + " became " + str(y)


class BadFormat(nn.Module):
    """A format of a tensor with dimensions is an error."""

    def forward(self, x):
        try:
            return f"{x:.2f}"
        except TypeError as error:
            return str(error)


class TextOfWeight(nn.Module):
    """A weight's text is known."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("scale", torch.arange(3.0))

    def forward(self, x):
        if x.sum() > 0:
            return f"{self.weight} {self.scale!r}"
        return "%s" % self.scale


class TextInLoop(nn.Module):
    """The text of each round, and characters of a text."""

    def forward(self, x):
        line = ""
        while x.abs().sum() > 8 and x.isfinite().all():
            x = x / 2
            line = f"{x[0]}"
        return line, "inf" in f"{x}", len(str(x))


class UnusedMessage(nn.Module):
    """A message made before it is known whether it is needed."""

    def forward(self, x):
        y = x * 2
        message = f"the sum of {y} is {y.sum().item():.1f}"
        if y[0].sum() > 3:
            raise ValueError("bad: " + message)
        return y


class Label(NamedTuple):
    """A text beside a number."""

    text: str
    place: int


class TextsMoved(nn.Module):
    """Texts put into containers, moved, counted and taken out: nobody reads their characters."""

    def forward(self, x):
        names = [f"{v:.2f}" for v in x.flatten()[:3].tolist()]
        pair = (f"{x.sum().item():.1f}", 1)
        table = dict(zip("ab", names, strict=False)) | {"c": pair[0]}
        labels = [Label(name, place) for place, name in enumerate(names)]
        last = max(labels, key=lambda label: label.place)
        table["a"] = names[-1]
        moved = (tuple(names), names[::-1], list(reversed(names)), sum([[name] for name in names], []))
        asked = (len(names), len(pair), isinstance(pair[0], str), any(names), all([*names, ""]), bool(pair))
        return moved, asked, {**table}, last.text, dict.fromkeys([1, 2], pair[0]), table.pop("b")


class TextKept(nn.Module):
    """Texts that the next call finds: alone, in a tuple, in a dict of the model's."""

    def __init__(self):
        super().__init__()
        self.last, self.pair, self.log = "", ("", 0), {}

    def forward(self, x):
        before, pair = self.last, self.pair
        if x.sum() > 0:
            self.last = f"{x.sum().item():.2f}"
            self.log["last"] = [f"{x.max().item():.1f}", 3]
        else:
            self.last = "none"
        self.pair = (f"<{self.last}>", pair[1] + 1)
        return before, pair, self.log


class TextGrows(nn.Module):
    """Texts that a loop makes longer: looked up, by what a branch adds, written with numbers; one is kept."""

    def __init__(self):
        super().__init__()
        self.history = ""

    def forward(self, x):
        text, turns, log, steps = "", "", "", 0
        while x.abs().max() > 0.1:
            word = ["one ", "two ", "three ", "four "][x.argmax().item() % 4]
            if word != "two ":
                text += word
            turns += "L" if x[0, 0] > x[0, 1] else "R"
            log = f"{log}{steps}:{x.argmax().item()} "
            x = x.roll(1) * 0.75
            steps += 1
        self.history = self.history[-20:] + turns if turns else self.history
        return text.strip(), turns, log, len(text), turns.count("L"), text == "", "four" in text


class TextTaken(nn.Module):
    """Characters and words of a text that only the run knows."""

    def forward(self, x):
        n = int(x.abs().max().item()) + 3
        text = f"{n}, {n * 37} and {x.sum().item():.1f}"
        digits = 0
        for character in text:
            if character.isdigit():
                digits += int(character)
        words = text.split()
        try:
            text.split(words[0][len(words[0]) :])
        except ValueError as error:
            words.append(str(error))
        last = text[n] if n < len(text) else text[-1]
        return text[1:], text[-n:], text[::-2], last, digits, words, len(words), text.split(",")[0], "-".join(words)


class TextsChosen(nn.Module):
    """What was chosen at each of several decisions, by name: more ways than anybody counts."""

    def forward(self, x):
        chosen = []
        for row in x:
            name = ("skip", "conv", "pool")[row.argmax().item() % 3]
            if name == "skip":
                chosen.append((name, 0))
                continue
            x = x * (2.0 if name == "conv" else 0.5)
            chosen.append((name, row.argmin().item() % 2 + 1))
            if x.sum() > 0:
                chosen.append(("again", 1))
        return x, chosen, dict(chosen[-1:])


CASES = [
    Case(TextGrows, vectors),
    Case(TextTaken, vectors),
    Case(TextsChosen, matrices),
    *(Case(cls, matrices) for cls in (FiniteCheck, EveryForm, SizedText, WrittenLater, BadFormat, TextOfWeight)),
    *(Case(cls, matrices) for cls in (TextInLoop, UnusedMessage, TextsMoved, TextKept)),
    Case(EveryForm, lambda seed: (torch.arange(2000.0).reshape(40, 50) - seed,)),
    Case(FiniteCheck, vectors),
]
