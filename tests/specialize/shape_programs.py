"""Small models whose tensors have sizes that depend on the data, empty ones among them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.specialize.tensor_programs import Case


def masks(seed: int) -> tuple[Any, ...]:
    """Five rows; now and then all of one sign, or all but one."""
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 4, generator=made)
    if seed % 5 == 1:
        x = -x.abs()
    if seed % 5 == 2:
        x = x.abs()
    if seed % 5 == 3:
        x = -x.abs()
        x[seed % 3] *= -1
    return (x,)


class MaskRead(nn.Module):
    def forward(self, x):
        m = x[:, 0] > 0
        a = x[m]
        b = x[x > 0.5]
        c = x[:, x[0] > 0]
        d = x[m, 1]
        e = x[m, 1:3]
        f = x[None, m]
        g = x[m][:, None, :]
        h = x[m, ..., 0]
        return a, b, c, d, e, f, g, h


class MaskTwo(nn.Module):
    def forward(self, x):
        m = x[:, 0] > 0
        c = x[0] > 0
        y = x[m][:, c]
        z = x[2:][m[2:]]
        return y, z, x[~m] * 2


class MaskWrite(nn.Module):
    def forward(self, x):
        m = x[:, 0] > 0
        y = x.clone()
        y[m] = 0.0
        z = x.clone()
        z[m] = x[m] * 2
        z[m] += 1
        z[z > 2] = 2
        w = x.clone()
        w[:, x[0] > 0] = 3.0
        w[m, 1] = -1.0
        w[m, 2:] *= 2
        v = torch.zeros(5)
        v[m] = x[m].sum(1)
        return y, z, w, v


class Indices(nn.Module):
    def forward(self, x):
        a = torch.nonzero(x > 0)
        b = torch.nonzero(x[:, 0] > 0, as_tuple=True)
        c = torch.where(x > 1)
        d = (x > 0).nonzero().squeeze()
        r, k = torch.where(x > 0)
        s = torch.zeros(5).index_add_(0, r, x[r, k])
        e = torch.masked_select(x, x > 0)
        return a, b, c, d, s, e, r.shape[0]


class SqueezeFork(nn.Module):
    def forward(self, x):
        i = torch.nonzero(x[:, 0] > 0).squeeze()
        if i.dim() == 0:
            i = i.unsqueeze(0)
        return x[i]


class UniqueValues(nn.Module):
    def forward(self, x):
        k = (x * 2).long()
        u = torch.unique(k)
        v, inv = torch.unique(k, return_inverse=True)
        w, inv2, cnt = torch.unique(k[:, 0], return_inverse=True, return_counts=True)
        c, cc = torch.unique_consecutive(k.flatten().sort()[0], return_counts=True)
        s = torch.zeros(w.shape[0], 4).index_add_(0, inv2, x)
        mean = s / cnt.unsqueeze(1)
        rows = torch.unique(k[:, :2], dim=0)
        return u, v, inv, w, cnt, c, cc, mean, rows


class LoopUnique(nn.Module):
    def forward(self, x):
        k = (x[:, 0] * 2).long()
        out = torch.zeros_like(x)
        for v in torch.unique(k):
            m = k == v
            out[m] = x[m] - x[m].mean(0)
        return out


class Branches(nn.Module):
    def forward(self, x):
        i = torch.nonzero(x[:, 0] > 0)[:, 0]
        if i.numel() > 0:
            y = x[i].sum(0)
        else:
            y = x[0]
        if len(i) > 2:
            y = y * 2
        if i.shape[0] == 1:
            y = y + x[i[0]]
        if len(i):
            y = y + 1
        if x[i].size(0) >= 4:
            return y, i
        return y


class RowsOfSelection(nn.Module):
    def forward(self, x):
        sel = x[x[:, 0] > 0]
        total = torch.zeros(4)
        for row in sel:
            total = total * 0.5 + row
        n = 0
        for k, row in enumerate(sel):
            total = total + k * row
            n += 1
        for j in range(sel.shape[0]):
            total = total + sel[j] * j
        for j in range(len(sel) - 1):
            total = total + sel[j] * sel[j + 1]
        return total, n


class TopkRun(nn.Module):
    def forward(self, x):
        k = int((x[:, 0] > 0).sum())
        v, i = torch.topk(x[:, 1], k)
        a = x[:k]
        b = x.narrow(0, 0, k)
        c = torch.arange(k)
        z = torch.zeros(k, 4) + x[:1]
        o = x.new_zeros((k,))
        e = x[0].expand(k, 4)
        f = x[:k].reshape(-1)
        g = x[:k].reshape(k * 2, 2)
        h = x[:k].view(k, 2, 2)
        r = x[0].repeat(k, 1)
        steps = torch.linspace(0, 1, k)
        return v, i, a, b, c, z, o, e, f, g, h, r, torch.eye(k), torch.ones(k, k).tril(), torch.full((k, 2), 3.0), steps


class RepeatInter(nn.Module):
    def forward(self, x):
        n = (x > 0).sum(1)
        a = x.repeat_interleave(n, dim=0)
        b = torch.repeat_interleave(torch.arange(5), n)
        return a, b, a.shape[0]


class SplitSizes(nn.Module):
    def forward(self, x):
        n = (x > 0).sum(1)
        a = x.repeat_interleave(n, dim=0)
        parts = torch.split(a, n.tolist())
        out = [p.sum(0) for p in parts]
        return torch.stack(out)


class SplitMax(nn.Module):
    def forward(self, x):
        n = (x > 0).sum(1)
        a = x.repeat_interleave(n, dim=0)
        parts = a.split(n.tolist(), dim=0)
        out = []
        for p in parts:
            if p.shape[0] == 0:
                out.append(torch.zeros(4))
            else:
                out.append(p.max(0).values)
        return torch.stack(out)


class GatherScatter(nn.Module):
    def forward(self, x):
        i = torch.nonzero(x[:, 0] > 0).flatten()
        s = torch.index_select(x, 0, i)
        z = torch.zeros(5, 4)
        z.index_add_(0, i, s)
        z.index_copy_(0, i, s * 2)
        z.index_fill_(0, i, 1.0)
        z.index_put_((i,), s, accumulate=True)
        z = z.scatter_add(0, i[:, None].expand(-1, 4), s)
        z = z.scatter(0, i.unsqueeze(1).repeat(1, 4), s)
        g = torch.gather(x, 0, i.unsqueeze(-1).expand(i.shape[0], 4))
        z[i] = s
        z[i] += s
        z[i, 0] = 1.0
        return z, g, s


class CatStack(nn.Module):
    def forward(self, x):
        a, b = x[x[:, 0] > 0], x[x[:, 1] > 0]
        c = torch.cat([a, b])
        d = torch.cat([a, x], 0)
        e = torch.cat([a, a * 2], dim=1)
        f = torch.stack([a, a + 1])
        p = nn.utils.rnn.pad_sequence([a, b], batch_first=True)
        return c, d, e, f, p, F.pad(a, (0, 0, 0, 5 - a.shape[0]))


class PaddedRows(nn.Module):
    """Parts of rows made as long as the longest, by torch and by hand."""

    def forward(self, x):
        rows = [row[part] for row, part in zip(x[:3], x[:3] > 0)]
        longest = max(row.shape[0] for row in rows)
        by_hand = torch.stack([F.pad(row, (0, longest - len(row)), value=-1.0) for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1.0)
        left = nn.utils.rnn.pad_sequence((row > 1 for row in rows), padding_side="left")
        return by_hand, padded, left, lengths, padded.shape[1]


class PaddedSelection(nn.Module):
    """The same for a number of rows that is known at run time only."""

    def forward(self, x):
        rows = []
        for row in x[x[:, 0] > 0]:
            rows.append(row[row > 0])
        if not rows:
            return None
        return nn.utils.rnn.pad_sequence(rows, padding_value=2.0)


class GroupsOfTwo(nn.Module):
    """A number of rows in groups of two: whether that goes is told by the kernel, in other words where there are none."""

    def forward(self, x):
        rows = x[x[:, 0] > 0]
        try:
            return rows[:, None].reshape(-1, 2, rows.shape[0], 4)
        except RuntimeError as error:
            return str(error)


class LayersOnRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 6)
        self.n = nn.LayerNorm(6)
        self.a = nn.MultiheadAttention(6, 2, batch_first=True)
        self.c = nn.Conv1d(6, 4, 3, padding=1)
        self.b = nn.BatchNorm1d(6)
        self.e = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)

    def forward(self, x):
        s = x[x[:, 0] > 0]
        y = self.n(F.gelu(self.l(s)))
        w = self.b(y)
        if s.shape[0] == 0:
            return y
        z, _ = self.a(y[None], y[None], y[None])
        t = self.e(z)
        return self.c(t.transpose(1, 2)), w, y


class EmptyLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
        self.n = nn.LayerNorm(3)
        self.emb = nn.Embedding(10, 3)

    def forward(self, x):
        s = x[x[:, 0] > 0]
        y = self.n(self.l(s))
        return (
            y,
            F.softmax(y, -1),
            self.emb((s[:, 0] * 2).long().clamp(0, 9)),
            y.sum(),
            y.mean(),
            y.argmax(-1),
            y @ y.t(),
            y.norm(dim=1),
            y.cumsum(0),
        )


class Shrinks(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.heads = nn.ModuleList([nn.Linear(4, 2) for _ in range(3)])

    def forward(self, x):
        active = torch.arange(x.shape[0])
        out = torch.zeros(x.shape[0], 2)
        exits = torch.full((x.shape[0],), -1)
        h = x
        for i, (layer, head) in enumerate(zip(self.layers, self.heads)):
            h = torch.tanh(layer(h))
            logits = head(h)
            conf = logits.softmax(-1).max(-1).values
            done = conf > 0.55 if i < 2 else torch.ones_like(conf, dtype=torch.bool)
            out[active[done]] = logits[done]
            exits[active[done]] = i
            h, active = h[~done], active[~done]
            if active.numel() == 0:
                break
        return out, exits


class EmptyReductionCaught(nn.Module):
    def forward(self, x):
        s = x[x[:, 0] > 0]
        try:
            m = s[:, 0].max()
        except RuntimeError:
            m = torch.tensor(0.0)
        return m, s.sum(0), s.mean(0)


class EmptyReduction(nn.Module):
    def forward(self, x):
        s = x[x[:, 0] > 0, 0]
        return s.max(), s.argmax(), s.min()


class Broadcast(nn.Module):
    def forward(self, x):
        a = x[x[:, 0] > 0]
        b = x[x[:, 1] > 0]
        d = a[:, None, :] - b[None, :, :]
        e = torch.cdist(a, b)
        if a.shape[0] == b.shape[0]:
            return a + b, d, e
        return d, e, a * a.mean(0, keepdim=True)


class BroadcastRaise(nn.Module):
    def forward(self, x):
        a = x[x[:, 0] > 0]
        b = x[x[:, 1] > 0]
        return a + b


class MinMax(nn.Module):
    def forward(self, x):
        a = x[x[:, 0] > 0]
        if a.shape[0] < 2:
            return a
        v, i = a.max(0)
        s, o = a[:, 0].sort(descending=True)
        k = min(2, a.shape[0])
        t = a[:, 1].topk(k)
        return v, i, s, a[o], t.values, a[o[:k]], a[-1], a[:-1], a[1:] - a[:-1], a.flip(0), a.std(0)


class Whiles(nn.Module):
    def forward(self, x):
        rounds = 0
        while x.shape[0] > 1:
            x = x[x.sum(1) > x.sum(1).mean()]
            rounds += 1
        return x, rounds


class GraphConv(nn.Module):
    def forward(self, x):
        adj = (x @ x.t()) > 0
        src, dst = adj.nonzero(as_tuple=True)
        msg = x[src] * 0.5
        agg = torch.zeros_like(x)
        agg.index_add_(0, dst, msg)
        deg = torch.bincount(dst, minlength=5).clamp(min=1)
        e = torch.stack([src, dst])
        return agg / deg[:, None], e, e.size(1)


class ToList(nn.Module):
    def forward(self, x):
        i = torch.nonzero(x[:, 0] > 0).flatten()
        total = 0
        for j in i.tolist():
            total += j * 2
        return total, i.tolist()


class DynSliceAssign(nn.Module):
    def forward(self, x):
        k = int((x[:, 0] > 0).sum())
        y = torch.zeros(5, 4)
        y[:k] = x[:k]
        y[k:] = -1
        y[:k, 1] += 1
        return y


class ViewFork(nn.Module):
    def forward(self, x):
        y = x.clone()
        v = y[1]
        if x.sum() > 0:
            v += 1
        y[0] = 5
        return y, v


class ViewFork2(nn.Module):
    def forward(self, x):
        y = x.clone()
        v = y[:, 1:]
        w = v.t()
        if x.sum() > 0:
            v.mul_(2)
            if x[0, 0] > 0:
                w[0] = 9.0
        y += 1
        return y, v, w


class ModuloView(nn.Module):
    def forward(self, x):
        s = x[x > 0]
        if s.numel() % 2 == 1:
            s = s[:-1]
        return s.view(-1, 2).sum(1), s.view(2, -1)


class ViewRaise(nn.Module):
    def forward(self, x):
        s = x[x > 0]
        try:
            return s.view(-1, 2)
        except RuntimeError:
            return s


class Suppressed(nn.Module):
    def forward(self, x):
        keep = torch.ones(5, dtype=torch.bool)
        for i in range(5):
            if keep[i]:
                d = (x - x[i]).norm(dim=1)
                keep &= ~((d < 1.5) & (torch.arange(5) > i))
        idx = keep.nonzero().view(-1)
        return x[idx], idx


class HitExperts(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(4, 3)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)) for _ in range(3))

    def forward(self, x):
        p = self.gate(x).softmax(-1)
        w, sel = p.topk(2, dim=-1)
        out = torch.zeros_like(x)
        mask = F.one_hot(sel, 3).permute(2, 1, 0)
        hit = (mask.sum((-1, -2)) > 0).nonzero()
        for e in hit:
            e = e[0]
            pos, tok = torch.where(mask[e])
            y = self.experts[e](x[tok]) * w[tok, pos, None]
            out.index_add_(0, tok, y)
        return out


class PaddedRest(nn.Module):
    """What a run-time number of rows leaves of a number of rows is filled up."""

    def forward(self, x):
        kept = x[x[:, 0] > 0] + 1
        rest = 3 - kept.shape[0]
        return torch.cat([kept * 2, kept.new_full([rest, 4], -1.0)]), kept.sum()


class PlainRecurrence(nn.Module):
    """`nn.RNN` of either kind over as many steps as the data says, and over a known number."""

    def __init__(self):
        super().__init__()
        self.first = nn.RNN(4, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.second = nn.RNN(12, 3, nonlinearity="relu", bias=False)

    def forward(self, x):
        kept = torch.cat([x[:1], x[x[:, 0] > 0]]).unsqueeze(0)
        y, h = self.first(kept)
        z, last = self.second(y.transpose(0, 1))
        known, _ = self.first(x.unsqueeze(0))
        return z.sum(0), h, last, known


CASES = [
    Case(found, masks)
    for found in list(globals().values())
    if isinstance(found, type) and issubclass(found, nn.Module) and found.__module__ == __name__
]
