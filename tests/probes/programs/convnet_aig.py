"""ConvNet-AIG style (andreasveit/convnet-aig): gumbel gates, hard at inference, bottleneck list, activations returned."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd import Variable


class Identity(nn.Module):
    def forward(self, x):
        return x


class GumbleSoftmax(nn.Module):
    def __init__(self, hard=False):
        super().__init__()
        self.hard = hard

    def forward(self, logits, temp=1, force_hard=False):
        if self.training and not force_hard:
            raise NotImplementedError
        y = F.softmax(logits / temp, dim=-1)
        y_hard = torch.zeros_like(y)
        idx = y.max(-1)[1]
        y_hard.scatter_(-1, idx.unsqueeze(-1), 1.0)
        return y_hard


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, in_planes, planes, stride=1):
        super(BasicBlock, self).__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )
        self.fc1 = nn.Conv2d(in_planes, 8, kernel_size=1)
        self.fc1bn = nn.BatchNorm1d(8)
        self.fc2 = nn.Conv2d(8, 2, kernel_size=1)
        self.gs = GumbleSoftmax()
        self.gs.hard = True

    def forward(self, x, temperature=1, openings=None):
        w = F.avg_pool2d(x, x.size(2))
        w = F.relu(self.fc1bn(self.fc1(w).squeeze(3).squeeze(2)))
        w = self.fc2(w.unsqueeze(2).unsqueeze(3))
        w = self.gs(w.squeeze(-1).squeeze(-1), temp=temperature, force_hard=True)
        if openings is not None and not self.training:
            w = openings
        if w[:, 1].sum() == 0:
            return self.shortcut(x), w[:, 1]
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out = self.shortcut(x) + out * w[:, 1].unsqueeze(1).unsqueeze(2).unsqueeze(3)
        out = F.relu(out)
        return out, w[:, 1]


class SequentialGate(nn.Sequential):
    def forward(self, input, temperature=1, openings=None):
        gate_activations = []
        for i, module in enumerate(self._modules.values()):
            input, gate_activation = module(input, temperature)
            gate_activations.append(gate_activation)
        return input, gate_activations


class ResNetAIG(nn.Module):
    def __init__(self, block, layers, num_classes=10):
        super().__init__()
        self.in_planes = 8
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = self._make_layer(block, 8, layers[0], 1)
        self.layer2 = self._make_layer(block, 16, layers[1], 2)
        self.linear = nn.Linear(16, num_classes)

    def _make_layer(self, block, planes, num_blocks, stride):
        strides = [stride] + [1] * (num_blocks - 1)
        layers = []
        for stride in strides:
            layers.append(block(self.in_planes, planes, stride))
            self.in_planes = planes * block.expansion
        return SequentialGate(*layers)

    def forward(self, out, temperature=1, openings=None):
        gate_activations = []
        out = F.relu(self.bn1(self.conv1(out)))
        out, a = self.layer1(out, temperature)
        gate_activations.extend(a)
        out, a = self.layer2(out, temperature)
        gate_activations.extend(a)
        out = F.avg_pool2d(out, out.size()[3])
        out = out.view(out.size(0), -1)
        out = self.linear(out)
        return out, gate_activations


def build():
    torch.manual_seed(3)
    m = ResNetAIG(BasicBlock, [2, 3])
    for b in m.modules():
        if isinstance(b, BasicBlock):
            nn.init.normal_(b.fc2.weight, 0, 2.0)
    return m.eval()


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(1, 3, 8, 8, generator=g) * (1 + seed % 3),)
