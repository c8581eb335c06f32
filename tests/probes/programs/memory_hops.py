"""Memory network with halting hops; einsum; usage sort; a plain-python controller class; warnings; logging."""

import logging
import warnings
import torch
from torch import nn

logger = logging.getLogger(__name__)


class HopController:
    def __init__(self, max_hops=5, patience=2):
        self.max_hops, self.patience = max_hops, patience
        self.reset()

    def reset(self):
        self.count, self.last, self.stable = 0, None, 0

    def __call__(self, attention):
        self.count += 1
        top = attention.argmax(-1)
        if self.last is not None and torch.equal(top, self.last):
            self.stable += 1
        else:
            self.stable = 0
        self.last = top
        return self.stable >= self.patience or self.count >= self.max_hops

    @property
    def exhausted(self):
        return self.count >= self.max_hops


class MemNet(nn.Module):
    def __init__(self, d=8, slots=6):
        super().__init__()
        self.A, self.C, self.H = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.usage = torch.zeros(slots)
        self.ctl = HopController()

    def forward(self, query, memory, *, return_trace=False, **kwargs):
        if kwargs:
            warnings.warn(f"ignored {sorted(kwargs)}")
        self.ctl.reset()
        u = query
        trace = []
        while True:
            att = torch.softmax(torch.einsum("bd,bsd->bs", u, self.A(memory)), -1)
            o = torch.einsum("bs,bsd->bd", att, self.C(memory))
            u = torch.relu(self.H(u)) + o
            trace.append(att)
            logger.debug("hop %d", self.ctl.count)
            if self.ctl(att):
                break
        self.usage = 0.9 * self.usage + 0.1 * att.mean(0)
        free, order = torch.sort(self.usage)
        result = {"u": u, "hops": self.ctl.count, "free": order[0]}
        if self.ctl.exhausted:
            result["warning"] = f"no fixed point after {self.ctl.count} hops"
        if return_trace:
            result["trace"] = torch.stack(trace, 1)
        return result


def build():
    torch.manual_seed(13)
    m = MemNet().eval()
    m.A.weight.data *= 3
    return m


def sample_inputs(s):
    g = torch.Generator().manual_seed(s)
    return (torch.randn(2, 8, generator=g) * (1 + s % 3), torch.randn(2, 6, 8, generator=g))
