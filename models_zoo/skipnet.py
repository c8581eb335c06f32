"""SkipNet with feed-forward gates, on CIFAR-shaped images.

Wang, Yu, Dou, Darrell, Gonzalez: "SkipNet: Learning Dynamic Routing in Convolutional Networks", ECCV 2018.

Dynamic: in front of every residual block but the first, a small gate looks at the features and decides whether the
block runs. A skipped block leaves its shortcut (the identity, or the projection where the stage changes). 38 layers
have 17 gates and so 2^17 paths.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

WEIGHTS = Path(__file__).parent / "weights" / "skipnet.safetensors"


def conv3x3(in_channels, out_channels, stride=1):
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class FeedForwardGate(nn.Module):
    """The paper's FFGate-II: one strided convolution, pooling and a two-way classifier (0: skip, 1: run)."""

    def __init__(self, channels):
        super().__init__()
        self.conv = conv3x3(channels, channels, stride=2)
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, 2)

    def scores(self, x):
        x = F.relu(self.bn(self.conv(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(x)

    def forward(self, x):
        return self.scores(x).argmax(dim=1)


class SkipNet(nn.Module):
    def __init__(self, depth=38, width=8, num_classes=10):
        super().__init__()
        num_blocks = (depth - 2) // 2
        sizes = [(num_blocks + 2 - stage) // 3 for stage in range(3)]

        self.stem = nn.Sequential(conv3x3(3, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.blocks = nn.ModuleList()
        self.gates = nn.ModuleList()
        in_channels = width
        for stage, size in enumerate(sizes):
            channels = width * 2**stage
            for i in range(size):
                stride = 2 if stage > 0 and i == 0 else 1
                if len(self.blocks) > 0:
                    self.gates.append(FeedForwardGate(in_channels))
                self.blocks.append(BasicBlock(in_channels, channels, stride))
                in_channels = channels
        self.fc = nn.Linear(in_channels, num_classes)
        self.init_weights()

    def init_weights(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # Small residual branches at the start, so that the signal neither explodes nor dies in deep nets.
        for block in self.blocks:
            nn.init.constant_(block.bn2.weight, 0.25)
        # Undecided gates: the two scores differ by what the features say, not by a bias.
        for gate in self.gates:
            nn.init.normal_(gate.fc.weight, std=0.5)
            gate.fc.weight.data -= gate.fc.weight.data.mean(dim=1, keepdim=True)
            nn.init.zeros_(gate.fc.bias)

    def forward(self, x):
        x = self.stem(x)
        x = self.blocks[0](x)
        for gate, block in zip(self.gates, self.blocks[1:], strict=True):
            if gate(x).item() == 1:
                x = block(x)
            else:
                x = block.shortcut(x)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(x)


@torch.no_grad()
def settle_batch_norm(model, images):
    """Give every BatchNorm of an untrained network the statistics of these images, as if trained for one batch."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    x = model.blocks[0](model.stem(images))
    for gate, block in zip(model.gates, model.blocks[1:], strict=True):
        run = gate(x).view(-1, 1, 1, 1) == 1
        x = torch.where(run, block(x), block.shortcut(x))
    for norm in norms:
        norm.momentum = 0.1


def build(seed=0, depth=38, width=8):
    """SkipNet of `depth` layers; it has (depth - 2) // 2 - 1 gated blocks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SkipNet(depth, width)
    if (seed, depth, width) == (0, 38, 8) and WEIGHTS.exists():
        model.load_state_dict(load_file(WEIGHTS))
    else:
        settle_batch_norm(model, torch.cat([sample_inputs(i)[0] for i in range(64)]))
    return model.eval()


def example_inputs():
    return sample_inputs(0)


# The digits 0 to 9 as 8x8 bitmaps, one byte a row.
GLYPHS = (0x3C666E7666663C00, 0x183818181818187E, 0x3C66060C1830607E, 0x3C66061C06663C00, 0x0C1C2C4C7E0C0C00)
GLYPHS += (0x7E607C0606663C00, 0x1C30607C66663C00, 0x7E06060C18183000, 0x3C66663C66663C00, 0x3C66663E060C3800)


def scribble(digit, rng):
    """An 8x8 picture of a digit as a hand might write it: bent, worn, pale, now and then noisy."""
    bitmap = torch.tensor([GLYPHS[digit] >> (63 - i) & 1 for i in range(64)]).float().view(1, 1, 8, 8)
    turn, slant, width, height, dx, dy = (torch.rand(6, generator=rng) - 0.5).tolist()
    row_x = [1.4 + 0.5 * width, 0.4 * slant + 0.2 * turn, 0.2 * dx]
    row_y = [-0.2 * turn, 1.0 + 0.4 * height, 0.2 * dy]
    grid = F.affine_grid(torch.tensor([[row_x, row_y]]), [1, 1, 8, 8], align_corners=False)
    ink, wear, noise = torch.rand(3, generator=rng).tolist()
    picture = F.grid_sample(bitmap, grid, align_corners=False)
    picture = picture * (1.6 - 0.5 * wear * torch.rand(1, 1, 8, 8, generator=rng))
    picture = picture + noise**8 * torch.rand(1, 1, 8, 8, generator=rng)
    return picture.clamp(max=1.0) * (0.5 + 0.5 * ink)


def sample_inputs(seed):
    """A grey digit, scaled up to 32x32 as those of the training set are; every tenth seed writes the same digit."""
    rng = torch.Generator().manual_seed(seed)
    image = F.interpolate(scribble(seed % 10, rng), scale_factor=4, mode="bilinear", align_corners=False)
    return (image.repeat(1, 3, 1, 1),)
