"""Spiking net with LIF neurons keeping membrane on the module, surrogate autograd.Function, early stop by confidence."""

import torch
from torch import nn


class SurrogateSpike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, alpha):
        if x.requires_grad:
            ctx.save_for_backward(x)
            ctx.alpha = alpha
        return (x >= 0).to(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g / (1 + (ctx.alpha * x).abs()) ** 2, None


class BaseNode(nn.Module):
    def __init__(self, v_threshold=1.0, v_reset=0.0, tau=2.0):
        super().__init__()
        self.v_threshold, self.v_reset, self.tau = v_threshold, v_reset, tau
        self.v = 0.0
        self.spike_count = 0

    def neuronal_charge(self, x):
        if isinstance(self.v, float):
            v_init = self.v
            self.v = torch.full_like(x.data, fill_value=v_init)
        self.v = self.v + (x - (self.v - self.v_reset)) / self.tau

    def neuronal_fire(self):
        return SurrogateSpike.apply(self.v - self.v_threshold, 2.0)

    def neuronal_reset(self, spike):
        if self.v_reset is None:
            self.v = self.v - spike * self.v_threshold
        else:
            self.v = (1.0 - spike) * self.v + spike * self.v_reset

    def forward(self, x):
        self.neuronal_charge(x)
        spike = self.neuronal_fire()
        self.neuronal_reset(spike)
        return spike

    def reset(self):
        self.v = 0.0


def reset_net(net):
    for m in net.modules():
        if hasattr(m, "reset"):
            m.reset()


class SNN(nn.Module):
    def __init__(self, T=8, threshold=2):
        super().__init__()
        self.T, self.threshold = T, threshold
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), BaseNode(), nn.AvgPool2d(2))
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), BaseNode())

    def forward(self, img):
        reset_net(self)
        out_spikes = 0.0
        for t in range(self.T):
            encoded = (img > (t + 1) / (self.T + 1)).float()
            out_spikes = out_spikes + self.fc(self.conv(encoded))
            top = out_spikes.topk(2, dim=1)[0]
            if bool(((top[:, 0] - top[:, 1]) >= self.threshold).all()):
                break
        return out_spikes / (t + 1), t + 1


def build():
    torch.manual_seed(0)
    m = SNN()
    m.conv[0].weight.data *= 6
    m.fc[1].weight.data *= 6
    return m.eval()


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(1, 1, 6, 6, generator=g),)
