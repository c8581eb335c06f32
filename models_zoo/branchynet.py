"""BranchyNet: an AlexNet for small images with two side branches and entropy exits.

Teerapittayanon, McDanel, Kung: "BranchyNet: Fast Inference via Early Exiting from Deep Neural Networks", ICPR 2016.

Dynamic: each side branch classifies; where the entropy of its softmax is below the branch's threshold the sample
leaves there, otherwise the trunk goes on. The result is a dict that names the exit.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

WEIGHTS = Path(__file__).parent / "weights" / "branchynet.safetensors"


def entropy(probabilities):
    """Shannon entropy in nats, one for each row."""
    return -(probabilities * torch.log(probabilities + 1e-8)).sum(dim=1)


def side_branch(channels, hidden, num_classes):
    return nn.Sequential(
        nn.Conv2d(channels, hidden, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveMaxPool2d(4),
        nn.Flatten(),
        nn.Linear(hidden * 16, num_classes),
    )


class BranchyAlexNet(nn.Module):
    def __init__(self, num_classes=10, thresholds=(0.35, 0.25)):
        super().__init__()
        self.thresholds = thresholds
        self.trunk1 = nn.Sequential(
            nn.Conv2d(3, 16, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.LocalResponseNorm(3, alpha=5e-5, beta=0.75),
        )
        self.branch1 = side_branch(16, 8, num_classes)
        self.trunk2 = nn.Sequential(
            nn.Conv2d(16, 32, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.LocalResponseNorm(3, alpha=5e-5, beta=0.75),
        )
        self.branch2 = side_branch(32, 16, num_classes)
        self.trunk3 = nn.Sequential(
            nn.Conv2d(32, 48, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(48, 48, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(48, 32, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Flatten(),
            nn.Linear(32 * 16, 128),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(128, num_classes),
        )

    def forward(self, x):
        x = self.trunk1(x)
        logits = self.branch1(x)
        uncertainty = entropy(F.softmax(logits, dim=1))
        if uncertainty < self.thresholds[0]:
            result = {"logits": logits, "entropy": uncertainty, "exit": "branch1"}
        else:
            x = self.trunk2(x)
            logits = self.branch2(x)
            uncertainty = entropy(F.softmax(logits, dim=1))
            if uncertainty < self.thresholds[1]:
                result = {"logits": logits, "entropy": uncertainty, "exit": "branch2"}
            else:
                logits = self.trunk3(x)
                result = {"logits": logits, "entropy": entropy(F.softmax(logits, dim=1)), "exit": "main"}
        result["prediction"] = result["logits"].argmax(dim=1)
        return result


def build(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BranchyAlexNet()
    if seed == 0 and WEIGHTS.exists():
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
