"""SkipNet with one recurrent gate for all blocks.

Wang, Yu, Dou, Darrell, Gonzalez: "SkipNet: Learning Dynamic Routing in Convolutional Networks", ECCV 2018.

Dynamic: in front of every residual block but the first the gate looks at the features and decides whether the block
runs. The gate is one LSTM for the whole network: its state is carried from block to block, so every decision depends
on the features at all earlier gates. The state lives on the gate's module and starts anew with every image.
"""

import torch
import torch.nn.functional as F
from torch import nn


def conv3x3(in_channels, out_channels, stride=1):
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def shortcut(self, x):
        return x if self.downsample is None else self.downsample(x)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class RNNGate(nn.Module):
    """Pooled and projected features go through an LSTM; a sigmoid of its output says how likely the block runs."""

    def __init__(self, stage_channels, embed_dim=10, hidden_dim=10):
        super().__init__()
        self.hidden_dim = hidden_dim
        self.projections = nn.ModuleList([nn.Conv2d(channels, embed_dim, 1) for channels in stage_channels])
        self.rnn = nn.LSTM(embed_dim, hidden_dim)
        self.proj = nn.Linear(hidden_dim, 1)
        self.hidden = None

    def init_hidden(self, batch_size):
        weight = next(self.parameters())
        return (weight.new_zeros(1, batch_size, self.hidden_dim), weight.new_zeros(1, batch_size, self.hidden_dim))

    def repackage_hidden(self):
        self.hidden = tuple(h.detach() for h in self.hidden)

    def forward(self, x, stage):
        batch_size = x.size(0)
        pooled = self.projections[stage](F.adaptive_avg_pool2d(x, 1)).view(1, batch_size, -1)
        self.rnn.flatten_parameters()
        out, self.hidden = self.rnn(pooled, self.hidden)
        prob = torch.sigmoid(self.proj(out.squeeze(0)))
        return prob, (prob > 0.5).float()


class RecurrentGatedResNet(nn.Module):
    def __init__(self, layers=(3, 3, 3), width=8, num_classes=10):
        super().__init__()
        self.layers = layers
        self.conv1 = conv3x3(3, width)
        self.bn1 = nn.BatchNorm2d(width)
        channels = [width * 2**stage for stage in range(len(layers))]
        in_channels = width
        for stage, (size, out_channels) in enumerate(zip(layers, channels, strict=True)):
            for i in range(size):
                stride = 2 if stage > 0 and i == 0 else 1
                setattr(self, f"group{stage + 1}_layer{i}", BasicBlock(in_channels, out_channels, stride))
                in_channels = out_channels
        self.control = RNNGate(channels)
        self.fc = nn.Linear(in_channels, num_classes)
        self.init_weights()

    def init_weights(self):
        for module in self.modules():
            if isinstance(module, BasicBlock):
                nn.init.constant_(module.bn2.weight, 0.5)
        for parameter in self.control.parameters():
            nn.init.normal_(parameter, std=2.0)
        nn.init.normal_(self.control.proj.weight, std=3.0)
        nn.init.zeros_(self.control.proj.bias)

    def forward(self, x):
        self.control.hidden = self.control.init_hidden(x.size(0))
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.group1_layer0(x)
        skipped = 0
        for stage, size in enumerate(self.layers):
            for i in range(size):
                if stage == 0 and i == 0:
                    continue
                block = getattr(self, f"group{stage + 1}_layer{i}")
                _, mask = self.control(x, stage - 1 if i == 0 else stage)
                if mask.item() == 1:
                    x = block(x)
                else:
                    x = block.shortcut(x)
                    skipped += 1
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        self.control.repackage_hidden()
        return self.fc(x), skipped


def build(seed=0, layers=(3, 3, 3), width=8):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RecurrentGatedResNet(layers, width)
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """A smooth coloured pattern of 16x16 pixels."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 4, 4, generator=rng) * (0.5 + 2 * torch.rand(1, generator=rng))
    return (F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False),)
