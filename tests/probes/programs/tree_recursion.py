"""Recursion over Python input objects with labels of nodes; results collected by an append in the recursion; nested lists as trees."""

import torch
from torch import nn


class Node:
    def __init__(self, word=None, left=None, right=None):
        self.word, self.left, self.right = word, left, right
        self.isLeaf = word is not None
        self.h = None


class RNTN(nn.Module):
    def __init__(self, vocab=10, d=6, cls=3):
        super().__init__()
        self.embed = nn.Embedding(vocab, d)
        self.V = nn.Parameter(torch.randn(d, 2 * d, 2 * d) * 0.2)
        self.W = nn.Linear(2 * d, d)
        self.out = nn.Linear(d, cls)
        self.node_logits = []

    def tensor_product(self, v):
        return torch.stack([v @ self.V[i] @ v for i in range(self.V.size(0))])

    def walk(self, node):
        if node.isLeaf:
            h = torch.tanh(self.embed(torch.tensor(node.word)))
        else:
            l, r = self.walk(node.left), self.walk(node.right)
            v = torch.cat((l, r))
            h = torch.tanh(self.tensor_product(v) + self.W(v))
            if h.norm() > 1.2:
                h = h / h.norm()
        node.h = h
        self.node_logits.append(self.out(h))
        return h

    def forward(self, root):
        self.node_logits = []
        self.walk(root)
        logits = torch.stack(self.node_logits)
        return logits[-1], logits.argmax(1).tolist()


def build():
    torch.manual_seed(17)
    m = RNTN().eval()
    m.V.data *= 3
    return m


def sample_inputs(s):
    import random

    r = random.Random(s)

    def make(n):
        if n == 1:
            return Node(word=r.randrange(10))
        k = r.randrange(1, n)
        return Node(left=make(k), right=make(n - k))

    return (make(1 + s % 4 + 1),)
