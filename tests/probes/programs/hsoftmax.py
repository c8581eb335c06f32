"""Hierarchical softmax: Huffman-coded words, path lists, greedy tree decoding with dict of children."""

import heapq
import torch
from torch import nn


class HuffmanNode:
    def __init__(self, idx, count, left=None, right=None):
        self.idx, self.count, self.left, self.right = idx, count, left, right

    def __lt__(self, other):
        return (self.count, self.idx) < (other.count, other.idx)


class HierarchicalSoftmax(nn.Module):
    def __init__(self, d, counts):
        super().__init__()
        heap = [HuffmanNode(i, c) for i, c in enumerate(counts)]
        heapq.heapify(heap)
        n = len(counts)
        k = n
        while len(heap) > 1:
            a, b = heapq.heappop(heap), heapq.heappop(heap)
            heapq.heappush(heap, HuffmanNode(k, a.count + b.count, a, b))
            k += 1
        self.tree = heap[0]
        self.n = n
        self.inner = nn.Embedding(k - n, d)
        self.codes = {}
        self._assign(self.tree, [])

    def _assign(self, node, code):
        if node.left is None:
            self.codes[node.idx] = tuple(code)
            return
        self._assign(node.left, code + [(node.idx - self.n, 0)])
        self._assign(node.right, code + [(node.idx - self.n, 1)])

    def decode(self, h):
        node = self.tree
        logp = 0.0
        depth = 0
        while node.left is not None:
            score = torch.sigmoid((self.inner(torch.tensor(node.idx - self.n)) * h).sum())
            if score.item() > 0.5:
                logp += torch.log(score).item()
                node = node.right
            else:
                logp += torch.log(1 - score).item()
                node = node.left
            depth += 1
        return node.idx, logp, depth

    def log_prob(self, h, word):
        out = 0
        for idx, bit in self.codes[word]:
            s = torch.sigmoid((self.inner.weight[idx] * h).sum())
            out = out + torch.log(s if bit else 1 - s)
        return out


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.GRU(4, 6, batch_first=True)
        self.hs = HierarchicalSoftmax(6, [10, 7, 5, 3, 2, 2, 1])
        self.hs.inner.weight.data *= 2

    def forward(self, x):
        _, h = self.enc(x)
        words, scores = [], []
        for row in h[0]:
            w, lp, d = self.hs.decode(row)
            words.append(w)
            scores.append(lp)
        return words, scores, self.hs.log_prob(h[0, 0], words[0])


def build():
    torch.manual_seed(0)
    return Net().eval()


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(2, 3, 4, generator=g) * 2,)
