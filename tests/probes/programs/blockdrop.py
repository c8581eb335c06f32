"""BlockDrop: policy network, forward_single with per-block decisions and batch masks (Tushar-N/blockdrop)."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd import Variable


class BasicBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1 = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(out))


class FlatResNet(nn.Module):
    def seed(self, x):
        raise NotImplementedError

    def forward_single(self, x, policy):
        x = self.seed(x)
        t = 0
        for segment, num_blocks in enumerate(self.layer_config):
            for b in range(num_blocks):
                residual = self.ds[segment](x) if b == 0 else x
                if policy[t] == 1:
                    x = residual + self.blocks[segment][b](x)
                    x = F.relu(x)
                else:
                    x = residual
                t += 1
        x = self.avgpool(x)
        x = x.view(x.size(0), -1)
        return self.fc(x)

    def forward(self, x, policy):
        x = self.seed(x)
        t = 0
        for segment, num_blocks in enumerate(self.layer_config):
            for b in range(num_blocks):
                action = policy[:, t].contiguous()
                residual = self.ds[segment](x) if b == 0 else x
                if action.data.sum() == 0:
                    x = residual
                    t += 1
                    continue
                action_mask = action.float().view(-1, 1, 1, 1)
                fx = F.relu(residual + self.blocks[segment][b](x))
                x = fx * action_mask + residual * (1 - action_mask)
                t += 1
        x = self.avgpool(x)
        x = x.view(x.size(0), -1)
        return self.fc(x)


class ResNet(FlatResNet):
    def __init__(self, layers):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.blocks, self.ds = [], []
        for n in layers:
            self.blocks.append(nn.ModuleList([BasicBlock(8) for _ in range(n)]))
            self.ds.append(nn.Sequential())
        self.blocks = nn.ModuleList(self.blocks)
        self.ds = nn.ModuleList(self.ds)
        self.fc = nn.Linear(8, 10)
        self.layer_config = layers

    def seed(self, x):
        return self.relu(self.bn1(self.conv1(x)))


class Policy(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.logit = nn.Linear(8, n)
        self.vnet = nn.Linear(8, 1)

    def forward(self, x):
        f = self.features(x).flatten(1)
        value = self.vnet(f)
        return torch.sigmoid(self.logit(f)), value


class BlockDrop(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [3, 3, 2]
        self.rnet = ResNet(layers)
        self.agent = Policy(sum(layers))
        self.single = True

    def forward(self, inputs):
        inputs = Variable(inputs)
        probs, _ = self.agent(inputs)
        policy = probs.clone()
        policy[policy < 0.5] = 0.0
        policy[policy >= 0.5] = 1.0
        policy = Variable(policy)
        preds = self.rnet.forward(inputs, policy)
        if self.single:
            one = self.rnet.forward_single(inputs[:1], policy[0].data)
            return preds, policy, one
        return preds, policy


def build():
    torch.manual_seed(0)
    m = BlockDrop()
    m.agent.logit.weight.data *= 20
    return m.eval()


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(2, 3, 8, 8, generator=g) * 2,)
