"""Resolution adaptive / slimmable: width multiplier as attribute set over modules, interpolate on low confidence, glimpses."""

import torch
from torch import nn
import torch.nn.functional as F


class SlimmableConv2d(nn.Conv2d):
    def __init__(self, in_list, out_list, k, stride=1, padding=0):
        super().__init__(max(in_list), max(out_list), k, stride=stride, padding=padding, bias=True)
        self.in_list, self.out_list = in_list, out_list
        self.width_mult = 1.0

    def forward(self, input):
        idx = [0.5, 1.0].index(self.width_mult)
        i, o = self.in_list[idx], self.out_list[idx]
        return F.conv2d(input, self.weight[:o, :i], self.bias[:o], self.stride, self.padding)


class SwitchableBN(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.bn = nn.ModuleList([nn.BatchNorm2d(s) for s in sizes])
        self.width_mult = 1.0

    def forward(self, x):
        return self.bn[[0.5, 1.0].index(self.width_mult)](x)


class Slim(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.b1 = SlimmableConv2d([3, 3], [4, 8], 3, padding=1), SwitchableBN([4, 8])
        self.c2, self.b2 = SlimmableConv2d([4, 8], [4, 8], 3, padding=1), SwitchableBN([4, 8])
        self.fc = nn.ModuleList([nn.Linear(4, 3), nn.Linear(8, 3)])

    def set_width(self, w):
        self.apply(lambda m: setattr(m, "width_mult", w))

    def run(self, x):
        x = F.relu(self.b1(self.c1(x)))
        x = F.relu(self.b2(self.c2(x)))
        return self.fc[[0.5, 1.0].index(self.width_mult)](x.mean((2, 3)))

    def forward(self, x):
        entropy = None
        for scale in (0.5, 1):
            xi = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False) if scale != 1 else x
            for w in (0.5, 1.0):
                self.set_width(w)
                logits = self.run(xi)
                p = logits.softmax(-1)
                entropy = -(p * p.clamp_min(1e-8).log()).sum(-1)
                if entropy.max() < 0.9:
                    return logits, (scale, w)
        return logits, (scale, w)


def build():
    torch.manual_seed(0)
    m = Slim()
    for f in m.fc:
        f.weight.data *= 20
    return m.eval()


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(1, 3, 8, 8, generator=g) * (1 + seed % 3),)
