"""Small models about dtypes, conversions and custom autograd functions."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tests.specialize.tensor_programs import Case


class Spike(torch.autograd.Function):
    """A spike, with a surrogate gradient."""

    @staticmethod
    def forward(ctx, x, alpha=25.0):
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / (ctx.alpha * x.abs() + 1) ** 2, None


class Spiking(nn.Module):
    """A custom autograd function in a loop over time steps."""

    def forward(self, x):
        membrane = torch.zeros_like(x)
        count = 0
        for step in range(6):
            membrane = 0.9 * membrane + x
            spikes = Spike.apply(membrane - 1.0)
            membrane = membrane - spikes
            count = count + spikes
            if count.max() > 2:
                break
        return count, step


class Straight(torch.autograd.Function):
    """Its forward decides on data."""

    @staticmethod
    def forward(ctx, x):
        if x.sum() > 0:
            return x.round()
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        return grad


class Quantised(nn.Module):
    """A custom autograd function that decides inside, kept on the model as a function."""

    def __init__(self):
        super().__init__()
        self.quantise = Straight.apply
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        y = self.quantise(self.fc(x) * 3)
        return y if (y == 0).any() else y * 2


class Clamp(torch.autograd.Function):
    """The style with a context set up apart."""

    @staticmethod
    def forward(x, low):
        return x.clamp(min=low)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class Double(torch.autograd.Function):
    """Writes into its argument."""

    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        if ctx.needs_input_grad[0]:
            raise RuntimeError("no gradients here")
        return x.mul_(2)

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


class Functions(nn.Module):
    """A function in the newer style, and one that writes in place."""

    def forward(self, x):
        clamp = Clamp.apply
        y = clamp(x, 0.5) if x.sum() > 0 else clamp(x, -0.5)
        z = Double.apply(y)
        return y if z.sum() > 6 else y - z


class DoublePrecision(nn.Module):
    """Float64 through and through, with literals that float32 does not have."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4).double()

    def forward(self, x):
        x = x.double()
        y = self.fc(x).clamp(min=0.1, max=0.7)
        y = torch.where(x > 0.3, y, 0.123456789123) + torch.full_like(y, 0.1)
        y = functional.leaky_relu(y, 0.3) + functional.elu(y, 0.7)
        y = y.masked_fill(x < 0.1, 0.3)
        if y.sum() > 5:
            y = y * 0.1
        return y


class Integers(nn.Module):
    """Small integers, with their overflow."""

    def forward(self, x):
        q = (x * 10).round().clamp(-128, 127).to(torch.int8)
        u = (x.abs() * 10).to(torch.uint8)
        if q.sum() > 0:
            q = q + 1
        return q, u * 2, (q.float() * 0.1)[0], u > 3, u.bool(), q.to(torch.int16) // 2, u - 1


class HalfInside(nn.Module):
    """Half precision for a part of the way."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        y = self.fc(x).half() * 2 + 1
        return y.float() if y.sum() > 12 else y.to(torch.float32) * 2


class TypeNames(nn.Module):
    """Types by their old names, and questions about types."""

    def forward(self, x):
        y = x.type(torch.DoubleTensor)
        z = x.long().type("torch.FloatTensor")
        if x.type() == "torch.FloatTensor" and x.sum() > 0:
            return z + x.new_zeros(x.shape).to("cpu"), torch.finfo(x.dtype).eps
        return y, 0.0


class AutocastOff(nn.Module):
    """Autocast that is not enabled, in three spellings."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            y = self.fc(x)
        with torch.autocast(device_type=x.device.type, enabled=x.device.type == "cuda"):
            y = self.fc(y)
        with torch.cuda.amp.autocast(enabled=False):
            y = y * 2
        return y if y.sum() > 0 else -y


class WeightsAlone(nn.Module):
    """Work that needs no input."""

    def __init__(self):
        super().__init__()
        self.table = torch.arange(4.0)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        if x.sum() > 0:
            return self.table * 2, self.fc.weight.t() @ self.fc.weight
        return x[0], x


CASES = [
    Case(Spiking),
    Case(Quantised),
    Case(Functions),
    Case(DoublePrecision, is_end_to_end=True),
    Case(Integers, is_end_to_end=True),
    Case(HalfInside),
    Case(TypeNames),
    Case(AutocastOff),
    Case(WeightsAlone, is_end_to_end=True),
]
