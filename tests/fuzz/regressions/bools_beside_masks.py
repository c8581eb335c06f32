# inputs: row tokens
"""A run-time bool as operand of a mask was refused."""

from torch import nn


class Model(nn.Module):
    def forward(self, x, tokens):
        flag = x.mean().item() > 0
        mask = x > 0.2
        if flag != mask.all():
            x = x * 2
        both = mask & flag
        both |= not flag
        return x, flag ^ mask, both, mask == flag, tokens & flag
