"""RANet: sub-networks for growing resolutions, each with early exits.

Yang, Han, Chen, Song, Dai, Huang: "Resolution Adaptive Networks for Efficient Inference", CVPR 2020.

Dynamic: the first sub-network looks at the image at its lowest resolution. Exits stand inside of each sub-network;
only an image that no exit is sure about goes on to the next one, which works at a finer scale and takes in the
features of the coarser ones, kept in lists of lists.
"""

import torch
import torch.nn.functional as F
from torch import nn


def conv_bn_relu(in_channels, channels, stride=1):
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class InitialLayer(nn.Module):
    """The image at every resolution, coarsest first."""

    def __init__(self, channels, num_scales):
        super().__init__()
        self.layers = nn.ModuleList(
            [conv_bn_relu(3 if i == 0 else channels, channels, 1 if i == 0 else 2) for i in range(num_scales)]
        )

    def forward(self, x):
        res = []
        for layer in self.layers:
            x = layer(x)
            res.append(x)
        return res[::-1]


class DenseBlock(nn.Module):
    """Dense layers, which may take in features of the sub-network before."""

    def __init__(self, channels, growth, num_layers, fused_channels):
        super().__init__()
        self.layers, self.fusions = nn.ModuleList(), nn.ModuleList()
        for i in range(num_layers):
            self.layers.append(conv_bn_relu(channels, growth))
            fused = fused_channels[i] if i < len(fused_channels) else 0
            self.fusions.append(nn.Conv2d(fused, growth, kernel_size=1) if fused else nn.Identity())
            channels += growth * (2 if fused else 1)
        self.out_channels = channels

    def forward(self, x, low_features=None):
        kept = [x]
        for i, (layer, fusion) in enumerate(zip(self.layers, self.fusions, strict=True)):
            new = [x, layer(x)]
            if low_features is not None and i < len(low_features):
                up = F.interpolate(fusion(low_features[i]), size=x.shape[2:], mode="bilinear", align_corners=True)
                new.append(up)
            x = torch.cat(new, dim=1)
            kept.append(x)
        return x, kept


class Classifier(nn.Module):
    def __init__(self, channels, num_classes):
        super().__init__()
        self.conv = conv_bn_relu(channels, 16, stride=2)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(self.conv(x), 1).flatten(1))


class RANet(nn.Module):
    def __init__(self, num_scales=3, num_blocks=2, num_layers=2, channels=8, growth=6, num_classes=10, threshold=0.97):
        super().__init__()
        self.threshold = threshold
        self.scale_flows, self.classifiers = nn.ModuleList(), nn.ModuleList()
        self.first = InitialLayer(channels, num_scales)
        before = [[] for _ in range(num_blocks)]  # channels of the features that the last sub-network kept
        for _ in range(num_scales):
            blocks, exits, width, kept = nn.ModuleList(), nn.ModuleList(), channels, []
            for b in range(num_blocks):
                block = DenseBlock(width, growth, num_layers, before[b])
                step = [growth * (2 if i < len(before[b]) else 1) for i in range(num_layers)]
                kept.append([width + sum(step[:i]) for i in range(num_layers + 1)])
                width = block.out_channels
                blocks.append(block)
                exits.append(Classifier(width, num_classes))
            self.scale_flows.append(blocks)
            self.classifiers.append(exits)
            before = kept
        self.init_weights()

    def init_weights(self):
        for exits in self.classifiers:
            for classifier in exits:
                nn.init.normal_(classifier.fc.weight, std=2.0)

    def forward(self, x):
        inputs = self.first(x)
        low_features = None
        res = []
        for scale, (flow, exits) in enumerate(zip(self.scale_flows, self.classifiers, strict=True)):
            x = inputs[scale]
            new_features = []
            for b, (block, classifier) in enumerate(zip(flow, exits, strict=True)):
                x, kept = block(x, None if low_features is None else low_features[b])
                new_features.append(kept)
                pred = classifier(x)
                res.append(pred)
                if F.softmax(pred, dim=1).max() > self.threshold:
                    return pred, (scale, b)
            low_features = new_features
        # nobody was sure: all exits together
        return torch.stack(res).mean(0), None


@torch.no_grad()
def settle_batch_norm(model, images):
    """Give every BatchNorm of the untrained network the statistics of these images, as if trained for one batch."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()
    threshold, model.threshold = model.threshold, 2.0  # no exit
    model(images)
    model.threshold = threshold


def build(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RANet()
    settle_batch_norm(model, torch.cat([sample_inputs(i)[0] for i in range(32)]))
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """A smooth coloured pattern of 16x16 pixels."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 4, 4, generator=rng) * (0.2 + 2 * torch.rand(1, generator=rng))
    return (F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False),)
