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
        self.kernel = max(size // 4, 1)
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


def sample_inputs(seed):
    """A grey picture of random pen strokes, 8x8 scaled up to 32x32, as the digits of the training set are."""
    rng = torch.Generator().manual_seed(seed)
    canvas = torch.zeros(1, 1, 8, 8)
    row, column = torch.randint(1, 7, (2,), generator=rng).tolist()
    for step in torch.randint(-1, 2, (20, 2), generator=rng).tolist():
        row, column = min(max(row + step[0], 0), 7), min(max(column + step[1], 1), 6)
        canvas[0, 0, row, column] += 0.5
    canvas = canvas.clamp(max=1.0) * torch.rand(1, generator=rng).add(0.5).clamp(max=1.0)
    image = F.interpolate(canvas, scale_factor=4, mode="bilinear", align_corners=False)
    return (image.repeat(1, 3, 1, 1),)
