"""MSDNet: multi-scale dense network with early exits.

Huang, Chen, Li, Wu, van der Maaten, Weinberger: "Multi-Scale Dense Networks for Resource Efficient Image
Classification", ICLR 2018.

Dynamic: the network keeps features at several scales at every depth. After each block a classifier looks at the
coarsest scale; inference stops with the first one that is confident enough. The fine scales are dropped as depth
grows, so that the lists of features have different lengths.
"""

import torch
import torch.nn.functional as F
from torch import nn


class ConvBasic(nn.Module):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.net(x)


class MSDNFirstLayer(nn.Module):
    def __init__(self, in_channels, channels, num_scales):
        super().__init__()
        self.layers = nn.ModuleList()
        for scale in range(num_scales):
            self.layers.append(ConvBasic(in_channels, channels * 2**scale, stride=1 if scale == 0 else 2))
            in_channels = channels * 2**scale

    def forward(self, x):
        res = []
        for layer in self.layers:
            x = layer(x)
            res.append(x)
        return res


class ConvNormal(nn.Module):
    """Dense: new features beside the old ones."""

    def __init__(self, in_channels, channels):
        super().__init__()
        self.conv_normal = ConvBasic(in_channels, channels)

    def forward(self, x):
        return torch.cat([x[0], self.conv_normal(x[0])], dim=1)


class ConvDownNormal(nn.Module):
    """Dense, and half of the new features come down from the finer scale."""

    def __init__(self, in_channels1, in_channels2, channels):
        super().__init__()
        self.conv_down = ConvBasic(in_channels1, channels // 2, stride=2)
        self.conv_normal = ConvBasic(in_channels2, channels // 2)

    def forward(self, x):
        return torch.cat([x[1], self.conv_down(x[0]), self.conv_normal(x[1])], dim=1)


class MSDNLayer(nn.Module):
    """One step in depth at all scales; with fewer scales out than in, the finest is dropped."""

    def __init__(self, in_channels, growth, in_scales, out_scales):
        super().__init__()
        self.in_scales = in_scales
        self.out_scales = out_scales
        self.offset = in_scales - out_scales
        self.layers = nn.ModuleList()
        for scale in range(self.offset, in_scales):
            if scale == 0:
                self.layers.append(ConvNormal(in_channels[scale], growth))
            else:
                self.layers.append(ConvDownNormal(in_channels[scale - 1], in_channels[scale], growth * 2**scale))

    def forward(self, x):
        inp = [[x[0]]] if self.offset == 0 else [[x[0], x[1]]]
        inp += [[x[i + self.offset - 1], x[i + self.offset]] for i in range(1, self.out_scales)]
        return [layer(features) for layer, features in zip(self.layers, inp, strict=True)]


class Classifier(nn.Module):
    def __init__(self, channels, num_classes):
        super().__init__()
        self.m = nn.Sequential(ConvBasic(channels, 16, stride=2), nn.AdaptiveAvgPool2d(1))
        self.linear = nn.Linear(16, num_classes)

    def forward(self, x):
        res = self.m(x[-1])
        res = res.view(res.size(0), -1)
        return self.linear(res)


class MSDNet(nn.Module):
    def __init__(self, num_blocks=5, num_scales=3, steps=2, channels=8, growth=4, num_classes=10, threshold=0.6):
        super().__init__()
        self.num_blocks = num_blocks
        self.threshold = threshold
        self.blocks, self.classifier = nn.ModuleList(), nn.ModuleList()
        widths = [channels * 2**scale for scale in range(num_scales)]
        scales = num_scales
        for block in range(num_blocks):
            layers = [MSDNFirstLayer(3, channels, num_scales)] if block == 0 else []
            for step in range(steps):
                is_reduced = block in (2, 4) and step == 0
                out_scales = scales - 1 if is_reduced else scales
                layers.append(MSDNLayer(widths, growth, scales, out_scales))
                offset = scales - out_scales
                # a layer numbers its scales from the finest that it gets
                grown = [width + growth * 2**scale for scale, width in enumerate(widths)]
                widths, scales = grown[offset:], out_scales
            self.blocks.append(nn.Sequential(*layers))
            self.classifier.append(Classifier(widths[-1], num_classes))
        self.init_weights()

    def init_weights(self):
        for classifier in self.classifier:
            nn.init.normal_(classifier.linear.weight, std=0.9)

    def forward(self, x):
        res = []
        for i in range(self.num_blocks):
            x = self.blocks[i](x)
            res.append(self.classifier[i](x))
            confidence, label = F.softmax(res[-1], dim=1).max(dim=1)
            if confidence.item() >= self.threshold:
                return {"logits": res[-1], "label": label, "exit": i}
        # nobody was sure: the classifiers vote
        logits = torch.stack(res).mean(0)
        return {"logits": logits, "label": logits.argmax(1), "exit": self.num_blocks}


@torch.no_grad()
def settle_batch_norm(model, images):
    """Give every BatchNorm of the untrained network the statistics of these images, as if trained for one batch."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()
    x = images
    for block, classifier in zip(model.blocks, model.classifier, strict=True):
        x = block(x)
        classifier(x)


def build(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MSDNet()
    settle_batch_norm(model, torch.cat([sample_inputs(i)[0] for i in range(32)]))
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """A smooth coloured pattern of 16x16 pixels."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 4, 4, generator=rng) * (0.2 + 2 * torch.rand(1, generator=rng))
    return (F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False),)
