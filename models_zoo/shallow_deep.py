"""Shallow-Deep Network: VGG16-BN with internal classifiers and confidence exits.

Kaya, Hong, Dumitras: "Shallow-Deep Networks: Understanding and Mitigating Network Overthinking", ICML 2019.

Dynamic: after some convolutions an internal classifier looks at the features; if its softmax is confident enough the
network stops there. If no classifier is confident, the most confident of all outputs is the answer.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

WEIGHTS = Path(__file__).parent / "weights" / "shallow_deep.safetensors"

# VGG16: the channels of each convolution as a multiple of the width, and whether pooling follows.
VGG16 = [(1, False), (1, True), (2, False), (2, True), (4, False), (4, False), (4, True)]
VGG16 += [(8, False), (8, False), (8, True)] * 2
# An internal classifier follows these convolutions (about 15, 30, 45, 60, 75 and 90 % of the work).
CLASSIFIERS = [1, 3, 5, 7, 9, 11]


class InternalClassifier(nn.Module):
    """Feature reduction by a learned mix of max and average pooling, then one linear layer."""

    def __init__(self, channels, size, num_classes):
        super().__init__()
        self.kernel = max(size // 2, 1)
        self.mix = nn.Parameter(torch.rand(1))
        self.fc = nn.Linear(channels * (size // self.kernel) ** 2, num_classes)

    def forward(self, x):
        maximum = F.max_pool2d(x, self.kernel)
        average = F.avg_pool2d(x, self.kernel)
        mixed = self.mix * maximum + (1 - self.mix) * average
        return self.fc(mixed.flatten(1))


class ConvBlock(nn.Module):
    def __init__(self, in_channels, channels, pool):
        super().__init__()
        layers = [nn.Conv2d(in_channels, channels, kernel_size=3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
        if pool:
            layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class ShallowDeepVGG(nn.Module):
    def __init__(self, width=8, num_classes=10, image_size=32, threshold=0.9):
        super().__init__()
        self.threshold = threshold
        self.layers = nn.ModuleList()
        self.classifiers = nn.ModuleDict()
        in_channels, size = 3, image_size
        for i, (multiple, pool) in enumerate(VGG16):
            channels = width * multiple
            self.layers.append(ConvBlock(in_channels, channels, pool))
            in_channels = channels
            size = size // 2 if pool else size
            if i in CLASSIFIERS:
                self.classifiers[str(i)] = InternalClassifier(channels, size, num_classes)
        self.end_layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(in_channels * size * size, width * 8),
            nn.ReLU(),
            nn.Linear(width * 8, num_classes),
        )

    def forward(self, x):
        outputs = []
        confidences = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if str(i) not in self.classifiers:
                continue
            logits = self.classifiers[str(i)](x)
            confidence = F.softmax(logits, dim=1).max()
            if confidence.item() > self.threshold:
                return logits, len(outputs)
            outputs.append(logits)
            confidences.append(confidence)

        logits = self.end_layers(x)
        confidence = F.softmax(logits, dim=1).max()
        outputs.append(logits)
        confidences.append(confidence)
        if confidence.item() > self.threshold:
            return logits, len(outputs) - 1

        # Nobody is confident: the most confident of all has the word.
        best = int(torch.stack(confidences).argmax())
        return outputs[best], best


def build(seed=0, width=8, threshold=0.9):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ShallowDeepVGG(width, threshold=threshold)
    if (seed, width) == (0, 8) and WEIGHTS.exists():
        model.load_state_dict(load_file(WEIGHTS))
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
