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
