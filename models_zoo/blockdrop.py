"""BlockDrop: which residual blocks run is decided for the whole network at once.

Wu, Nagarajan, Kumar, Rennie, Davis, Grauman, Feris: "BlockDrop: Dynamic Inference Paths in Residual Networks", CVPR
2018.

Dynamic: a small policy network looks at the image and gives one probability for each block of the large network. The
vector of decisions is drawn before the large network starts; each block then asks its element.
"""

import torch
import torch.nn.functional as F
from torch import nn


class BasicBlock(nn.Module):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(out))


class DownsampleB(nn.Module):
    """The shortcut between stages: pooled, padded with channels of zeros."""

    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.avg = nn.AvgPool2d(stride)
        self.expand_ratio = channels // in_channels

    def forward(self, x):
        x = self.avg(x)
        return torch.cat([x] + [x.mul(0)] * (self.expand_ratio - 1), 1)


class FlatResNet(nn.Module):
    def __init__(self, layer_config, width, num_classes):
        super().__init__()
        self.layer_config = layer_config
        self.seed = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks, self.ds = nn.ModuleList(), nn.ModuleList()
        in_channels = width
        for stage, num_blocks in enumerate(layer_config):
            channels, stride = width * 2**stage, 1 if stage == 0 else 2
            blocks = [BasicBlock(in_channels, channels, stride)]
            blocks += [BasicBlock(channels, channels) for _ in range(1, num_blocks)]
            self.blocks.append(nn.ModuleList(blocks))
            self.ds.append(nn.Sequential() if stride == 1 else DownsampleB(in_channels, channels, stride))
            in_channels = channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x):
        x = self.seed(x)
        for segment, num_blocks in enumerate(self.layer_config):
            for b in range(num_blocks):
                residual = x if b > 0 else self.ds[segment](x)
                x = F.relu(residual + self.blocks[segment][b](x))
        return self.fc(self.avgpool(x).flatten(1))

    def forward_single(self, x, policy):
        """One image; a block runs where the policy says so."""
        x = self.seed(x)
        t = 0
        for segment, num_blocks in enumerate(self.layer_config):
            for b in range(num_blocks):
                residual = x if b > 0 else self.ds[segment](x)
                if policy[t] == 1:
                    x = self.blocks[segment][b](x)
                    x += residual
                    x = F.relu(x)
                else:
                    x = residual
                t += 1
        return self.fc(self.avgpool(x).flatten(1))


class PolicyNet(nn.Module):
    """A small network of the same kind, whose classes are the blocks of the large one."""

    def __init__(self, num_blocks, width):
        super().__init__()
        self.features = FlatResNet([1, 1, 1], width, num_classes=num_blocks)

    def forward(self, x):
        return torch.sigmoid(self.features(x))


class BlockDrop(nn.Module):
    def __init__(self, layer_config=(3, 3, 3), width=8, num_classes=10):
        super().__init__()
        self.rnet = FlatResNet(list(layer_config), width, num_classes)
        self.agent = PolicyNet(sum(layer_config), width)
        self.init_weights()

    def init_weights(self):
        for block in (block for stage in self.rnet.blocks for block in stage):
            nn.init.constant_(block.bn2.weight, 0.5)
        nn.init.normal_(self.agent.features.fc.weight, std=2.0)
        weight = self.agent.features.fc.weight.data
        weight -= weight.mean(dim=1, keepdim=True)
        nn.init.zeros_(self.agent.features.fc.bias)

    def forward(self, x):
        probs = self.agent(x)
        policy = probs.clone()
        policy[policy < 0.5] = 0.0
        policy[policy >= 0.5] = 1.0
        if policy.sum() == 0:
            policy = torch.ones_like(policy)
        logits = self.rnet.forward_single(x, policy.data.squeeze(0))
        return logits, policy


def build(seed=0, layer_config=(3, 3, 3), width=8):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BlockDrop(layer_config, width)
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """A smooth coloured pattern of 16x16 pixels."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 4, 4, generator=rng) * (0.5 + 2 * torch.rand(1, generator=rng))
    return (F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False),)
