"""Small models about sizes and numbers that only the run knows, and about the parts of torch that ask for them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tests.specialize.tensor_programs import Case, pair, rows, whole


class RunTimeSlices(nn.Module):
    """Slices with run-time bounds, some of them negative or past the end."""

    def forward(self, x):
        k = int(x.sum().item())
        a = x[:, :k]
        b = x[:, -2:k]
        if a.shape[1] > 1:
            return a.sum(), b.shape[1], a.shape
        return b.sum() + 1, k


class Regions(nn.Module):
    """Regions of a map between numbers that may lie anywhere: before it, beyond it, in the wrong order."""

    def forward(self, x):
        found = []
        for row in (x[:, :4] * 3).round().int():
            top, left, bottom, right = row.tolist()
            region = x[top : max(bottom, top + 1), left:right]
            found.append(region.sum() + region.shape[0] * 10 + region.shape[1])
        k = int(x[0, 0].abs().item()) % 2
        a, b = x[..., k * 2 : (k + 1) * 2].unbind(-1)
        return torch.stack(found), a - b


class StoredRegion(nn.Module):
    """A region of run-time size stored into one of another size: fits, is broadcast, or is torch's own error."""

    def forward(self, x):
        n, k = int((x[0] > 0).sum()), int((x[1] > 0).sum())
        out = torch.zeros(3, 5)
        out[1:, n:4] = x[1:, k:]
        out[:2, : n - 2] = x[0, : k - 1]
        return out


class CutAnywhere(nn.Module):
    """Cut and stored at one number, which may lie before the map, beyond it, or be counted from its end."""

    def forward(self, x):
        n = int((x[0] * 6).round())
        out = x.clone()
        out[n : n + 1] = 2 * x[:1]
        out[-1:n] += 1
        rest, first, last = x[n:], x[:n], x[-n:]
        window = x[n - 1 : n + 1]
        return out, rest, first.sum(), last.shape[0], window, out[: n + 1].mean()


class NumberedRows(nn.Module):
    """So many rows as a number says, and so many numbers: torch's exporter has to see that these are as many."""

    def forward(self, x):
        n = int((x[0, 0] * 3).round())
        return x[:n] * torch.arange(n)[:, None]


class Proposed(nn.Module):
    """Words proposed and checked, as in speculative decoding: how many are taken, the data says, and so how long it is."""

    def forward(self, x):
        words = (x[:3] > 0).long()[None]
        taken = 0
        while words.size(1) < 12:
            draft = words
            for _ in range(3):
                draft = torch.cat([draft, draft[:, -1:].remainder(2)], 1)
            choice = draft[:, words.size(1) - 1 :] % 2
            proposed = draft[:, words.size(1) :]
            match = (choice[:, :-1] == proposed).squeeze(0)
            n = int(match.long().cumprod(0).sum())
            words = torch.cat([words, proposed[:, :n], choice[:, n : n + 1]], 1)
            taken += n
        return words, taken


def places(seed: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(5, generator=torch.Generator().manual_seed(seed)),)


class StoredRow(nn.Module):
    """A row of known length stored between run-time numbers, some of them counted from the end."""

    def forward(self, x):
        n = int((x[0] > 0).sum())
        out = torch.zeros(2, 5)
        out[0, : n - 3] = x[0]
        return out


class CopiedRegion(nn.Module):
    """Two run-time sizes that mostly do not fit: the numbers in torch's error are theirs."""

    def forward(self, x):
        n, k = int((x[:, 0] > -1).sum()), int((x[0] > -1).sum())
        copied = torch.ones(3, 4).copy_(x[:n, :k]) if x[2, 3] > 0 else x
        out = torch.zeros(2, 3, 4)
        out[0] = x[:n, :k]
        return copied, out


class RunTimeNumbers(nn.Module):
    """Run-time numbers as operands and fill values."""

    def forward(self, x):
        s = x.mean().item()
        n = int(abs(s) * 3) + 1
        y = x * s + torch.full((2, 4), s).sum(0) - s
        z = torch.tensor([s, 1.0, n])
        w = torch.full((3,), n)
        y[0, 1] = s
        y[1] += n
        y = y.clamp(min=-abs(s)) ** 2
        return y, z, w, torch.tensor(n), torch.add(x, y, alpha=s), y * (n > 1), x.pow(n)


class GrowingCat(nn.Module):
    """A tensor that grows in a loop, with an end that the data decides."""

    def forward(self, x):
        out = x[:1]
        while out.shape[0] < 6:
            new = torch.tanh(out[-1:] * 1.5 + x[1:2])
            out = torch.cat([out, new])
            if new.sum() > 1.0:
                break
        return out, out.shape[0], out.mean(0)


class StackOfList(nn.Module):
    """A list of tensors that grows while the data says so."""

    def forward(self, x):
        out = []
        while len(out) < 5:
            x = torch.sin(x * 2)
            out.append(x[0])
            if x.sum() < 0:
                break
        return torch.stack(out), out[-1], len(out)


class Routed(nn.Module):
    """Experts that get the rows routed to them: sizes of the data."""

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(4, 2)
        self.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])

    def forward(self, x):
        chosen = self.router(x).argmax(-1)
        out = torch.zeros_like(x)
        for index, expert in enumerate(self.experts):
            where = torch.nonzero(chosen == index).squeeze(1)
            if where.numel() == 0:
                continue
            out.index_add_(0, where, expert(x[where]))
        return out


class MaskedRows(nn.Module):
    """Boolean masks select rows and are written through."""

    def forward(self, x):
        mask = x.sum(1) > 0
        chosen = x[mask]
        if chosen.shape[0] == 0:
            return x
        out = x.clone()
        out[mask] = chosen * 2 + chosen.mean(0)
        out[~mask] -= 1
        return out, mask.sum().item(), chosen.shape[0] / 3


class HaltingLoop(nn.Module):
    """Adaptive computation: rows halt one by one under a mask."""

    def __init__(self):
        super().__init__()
        self.step = nn.Linear(4, 4)
        self.halt = nn.Linear(4, 1)

    def forward(self, x):
        total = torch.zeros(3)
        running = torch.ones(3, dtype=torch.bool)
        rounds = 0
        while running.any() and rounds < 6:
            x = torch.where(running.unsqueeze(1), torch.tanh(self.step(x)), x)
            total = total + torch.sigmoid(self.halt(x)).squeeze(1) * running
            running = total < 1.0
            rounds += 1
        return x, total, rounds


class SortedValues(nn.Module):
    """Named results of torch: topk, sort, max, unique."""

    def forward(self, x):
        top = x.topk(2, dim=1)
        values, order = x[0].sort(descending=True)
        best = x.max(dim=0)
        if top.values[0, 0] - top.values[0, 1] > 0.5:
            return top.indices, best.indices
        found = torch.unique((x * 2).long())
        return values, order, found, found.numel(), tuple(best)


class Comparisons(nn.Module):
    """`equal`, `allclose` and comparisons with NaN."""

    def forward(self, x):
        y = torch.sqrt(x[0])
        first = torch.equal(x[0] > 0, x[1] > 0)
        second = torch.allclose(x[0], x[0] + x[1] * 1e-9)
        s = y.sum().item()
        if s > 1:
            return 1, first, second
        if s <= 1:
            return 2, first, second
        if s != s:
            return 3, first, second, torch.isnan(y).any().item(), min(s, 1.0), max(1.0, s), s == s
        return 4, y


class DivisionCaught(nn.Module):
    """A division by a number that may be zero, caught."""

    def forward(self, x):
        n = int(x.sum())
        try:
            ratio = 10 / n
            rest = 7 // n, 7 % n
        except ZeroDivisionError as error:
            return x, str(error)
        return x * ratio, rest


class ShapeErrorCaught(nn.Module):
    """An error of torch that the model catches."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        try:
            return self.layer(x.t())
        except RuntimeError:
            pass
        try:
            y = x[int(x[0, 0] * 3)]
        except IndexError as error:
            return x, str(error)
        return y


class Square(torch.autograd.Function):
    """A function with a backward of its own."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        return x * x * scale

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad, None


class CustomFunction(nn.Module):
    """A custom function at inference."""

    def forward(self, x):
        y = Square.apply(x, 2.0)
        return Square.apply(y, 0.5) if y.sum() > 10 else y


class GradientModes(nn.Module):
    """Every way to say that no gradient is wanted."""

    @torch.no_grad()
    def half(self, x):
        return x / 2

    @torch.inference_mode()
    def third(self, x):
        if x.sum() > 0:
            return x / 3
        return x

    def forward(self, x):
        with torch.inference_mode():
            y = self.half(x)
        with torch.no_grad():
            if y.sum() > 0:
                y = self.third(y)
        with torch.enable_grad():
            z = x.detach() * y.data
        x.requires_grad_(False)
        return z, z.requires_grad


class Leaves(nn.Module):
    """Recurrent and attention modules of torch's."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, num_layers=2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(12, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2)

    def forward(self, x):
        y, (h, _) = self.lstm(x[None])
        z, last = self.gru(y)
        if h.sum() > 0:
            z, weights = self.attention(z, z, z)
            return z, weights
        if last.sum() > 0:
            return self.encoder(z), last
        return torch.einsum("bij,bkj->bik", z, z), h[-1]


class Arithmetic(nn.Module):
    """Arithmetic on static shapes, and dropout that is off."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        rows, columns = x.shape
        y = self.dropout(x.reshape(rows * columns // 2, -1))
        y = functional.dropout(y, 0.3, training=self.training)
        y = functional.pad(y, (0, columns - y.size(1)))
        if y.numel() > 10 and y.sum() > 0:
            return y.view(-1, y.shape[-1] // 2)
        return y.permute(1, 0).contiguous().flatten(), x.dim(), len(x), x.stride()


class ZeroIterations(nn.Module):
    """`range` and indices of run-time integers, none among them."""

    def forward(self, x):
        n = int(x.max())
        total = x[0] * 0
        picked = []
        for i in range(n):
            total = total + x[i % 3] * i
        for i in range(int(x.min()), 0):
            picked += [i]
        return total, picked, x[:n].sum(), x.float().sum(0)[n]


class CrossesDtypes(nn.Module):
    """Python numbers, integer tensors and floats promote as torch says."""

    def forward(self, x, y):
        a = (x > 0).sum()
        b = a * 2.5
        c = a / 2
        d = torch.zeros(1, 4, dtype=torch.int64)
        d[0, 1] = 3.7
        d += a
        if b > c + 4:
            d = d + y
        return a, b, c, d, a.item() / 4, a // 3, -a % 3, ~a


class Chunks(nn.Module):
    """Parts of as many rows as a mask has true elements: halves of twice as many, thirds, fewer than asked for."""

    def forward(self, x):
        rows = x[x[:, 0] > 0]
        first, second = torch.chunk(input=torch.cat([rows, rows * 2]), chunks=2)
        parts = torch.chunk(rows, 3, dim=0)
        return second - first, len(parts), [part.sum() for part in parts], rows.t().chunk(2, -1)


CASES = [
    Case(Chunks, is_end_to_end=True, is_large=True),
    Case(RunTimeSlices),
    Case(Regions),
    Case(StoredRegion),
    Case(CutAnywhere, places),
    Case(NumberedRows, is_end_to_end=True),
    Case(StoredRow),
    Case(CopiedRegion),
    Case(RunTimeNumbers),
    Case(GrowingCat),
    Case(StackOfList),
    Case(Routed),
    Case(HaltingLoop),
    Case(MaskedRows),
    Case(SortedValues),
    Case(Comparisons),
    Case(DivisionCaught),
    Case(ShapeErrorCaught),
    Case(CustomFunction),
    Case(GradientModes),
    Case(Leaves),
    Case(Arithmetic),
    Case(ZeroIterations, whole),
    Case(CrossesDtypes, pair),
    Case(RunTimeSlices, whole),
]
SLOW = [Case(Proposed, places)]
assert rows
