"""Child-sum Tree-LSTM: sentiment of a sentence from its dependency tree.

Tai, Socher, Manning: "Improved Semantic Representations From Tree-Structured Long Short-Term Memory Networks", ACL
2015.

Dynamic: the input is a Python tree, and the network is its shape. Each node adds up what its children, however many,
have found, each of them through a forget gate of its own; the model calls itself for every child.
"""

import random

import torch
from torch import nn


class Tree:
    """A node of a dependency tree: a word and its dependents."""

    def __init__(self, word, children=()):
        self.word = word
        self.children = list(children)

    def size(self):
        return 1 + sum(child.size() for child in self.children)


class ChildSumTreeLSTM(nn.Module):
    def __init__(self, in_dim, mem_dim):
        super().__init__()
        self.in_dim = in_dim
        self.mem_dim = mem_dim
        self.ioux = nn.Linear(in_dim, 3 * mem_dim)
        self.iouh = nn.Linear(mem_dim, 3 * mem_dim)
        self.fx = nn.Linear(in_dim, mem_dim)
        self.fh = nn.Linear(mem_dim, mem_dim)

    def gates(self, x, h_sum):
        i, o, u = torch.chunk(self.ioux(x) + self.iouh(h_sum), 3, dim=1)
        return torch.sigmoid(i), torch.sigmoid(o), torch.tanh(u)

    def forward(self, tree, embedding):
        x = embedding(torch.tensor([tree.word]))
        h_sum = torch.zeros(1, self.mem_dim)
        c_sum = torch.zeros(1, self.mem_dim)
        for child in tree.children:
            c, h = self(child, embedding)
            forget = torch.sigmoid(self.fx(x) + self.fh(h))
            c_sum = c_sum + forget * c
            h_sum = h_sum + h
        i, o, u = self.gates(x, h_sum)
        c = i * u + c_sum
        return c, o * torch.tanh(c)


class SentimentTreeLSTM(nn.Module):
    def __init__(self, vocab_size=64, in_dim=16, mem_dim=16, num_classes=3, threshold=0.45):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, in_dim)
        self.childsumtreelstm = ChildSumTreeLSTM(in_dim, mem_dim)
        self.classifier = nn.Linear(mem_dim, num_classes)
        self.threshold = threshold

    def forward(self, tree):
        _, hidden = self.childsumtreelstm(tree, self.emb)
        probabilities = torch.softmax(self.classifier(hidden), dim=1)
        confidence, label = probabilities.max(dim=1)
        if confidence.item() < self.threshold:
            return probabilities, None, tree.size()
        return probabilities, int(label), tree.size()


def build(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SentimentTreeLSTM()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.4)
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """A random dependency tree of 1 to some 30 words."""
    rng = random.Random(seed)

    def grow(depth):
        count = 0 if depth == 0 else rng.randrange(4)
        return Tree(rng.randrange(64), [grow(depth - 1) for _ in range(count)])

    return (grow(rng.randrange(1, 5)),)
