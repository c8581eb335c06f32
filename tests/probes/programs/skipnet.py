"""SkipNet (ucbdrive): feedforward gates, getattr(self, 'group{}_ds{}'), masks, DataParallel wrapper, is_scripting."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd import Variable


def conv3x3(i, o, s=1):
    return nn.Conv2d(i, o, 3, stride=s, padding=1, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, i, o, s=1, down=None):
        super().__init__()
        self.conv1, self.bn1, self.relu = conv3x3(i, o, s), nn.BatchNorm2d(o), nn.ReLU(inplace=True)
        self.conv2, self.bn2, self.downsample = conv3x3(o, o), nn.BatchNorm2d(o), down

    def forward(self, x):
        residual = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            residual = self.downsample(x)
        out += residual
        return self.relu(out)


class FeedforwardGate(nn.Module):
    def __init__(self, pool_size=5, channel=10):
        super().__init__()
        self.maxpool = nn.MaxPool2d(2)
        self.conv1, self.bn1, self.relu1 = conv3x3(channel, channel), nn.BatchNorm2d(channel), nn.ReLU(inplace=True)
        self.avg_layer = nn.AvgPool2d(pool_size)
        self.linear_layer = nn.Conv2d(channel, 2, 1)
        self.prob_layer = nn.Softmax(dim=1)
        self.logprob = nn.LogSoftmax(dim=1)

    def forward(self, x):
        x = self.maxpool(x)
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.avg_layer(x)
        x = self.linear_layer(x).squeeze()
        if x.dim() == 1:
            x = x.unsqueeze(0)
        softmax = self.prob_layer(x)
        logprob = self.logprob(x)
        x = softmax[:, 1].contiguous()
        x = x.view(x.size(0), 1, 1, 1)
        if not self.training:
            x = (x > 0.5).float()
        return x, logprob


class ResNetFeedForwardSP(nn.Module):
    def __init__(self, block, layers, num_classes=10):
        self.inplanes = 6
        super().__init__()
        self.num_layers = layers
        self.conv1, self.bn1, self.relu = conv3x3(3, 6), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self._make_group(block, 6, layers[0], 1, 8)
        self._make_group(block, 8, layers[1], 2, 4)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, num_classes)

    def _make_group(self, block, planes, layers, group_id=1, pool=4):
        for i in range(layers):
            s = 2 if group_id > 1 and i == 0 else 1
            down = None
            if s != 1 or self.inplanes != planes:
                down = nn.Sequential(nn.Conv2d(self.inplanes, planes, 1, stride=s, bias=False), nn.BatchNorm2d(planes))
            setattr(self, "group{}_ds{}".format(group_id, i), down)
            setattr(self, "group{}_layer{}".format(group_id, i), block(self.inplanes, planes, s, down))
            setattr(self, "group{}_gate{}".format(group_id, i), FeedforwardGate(4 if group_id == 1 else 2, planes))
            self.inplanes = planes

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        masks, gprobs = [], []
        x = getattr(self, "group1_layer0")(x)
        mask, gprob = getattr(self, "group1_gate0")(x)
        gprobs.append(gprob)
        masks.append(mask.squeeze())
        prev = x
        for g in range(2):
            for i in range(0 + int(g == 0), self.num_layers[g]):
                if getattr(self, "group{}_ds{}".format(g + 1, i)) is not None:
                    prev = getattr(self, "group{}_ds{}".format(g + 1, i))(prev)
                if torch.jit.is_scripting():
                    use = True
                else:
                    use = bool(mask.sum() > 0)
                if use:
                    x = getattr(self, "group{}_layer{}".format(g + 1, i))(x)
                    prev = x = mask.expand_as(x) * x + (1 - mask).expand_as(prev) * prev
                else:
                    x = prev
                mask, gprob = getattr(self, "group{}_gate{}".format(g + 1, i))(x)
                if not (g == 1 and (i == self.num_layers[1] - 1)):
                    gprobs.append(gprob)
                    masks.append(mask.squeeze())
        x = self.avgpool(x)
        x = x.view(x.size(0), -1)
        return self.fc(x), masks, gprobs


def build():
    torch.manual_seed(2)
    m = ResNetFeedForwardSP(BasicBlock, [3, 3])
    for n, p in m.named_parameters():
        if "linear_layer.weight" in n:
            p.data *= 20
    return m.eval()


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(1, 3, 8, 8, generator=g) * (1 + seed % 3),)
