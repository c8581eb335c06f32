"""Models of trees and other objects: recursion, unions of classes, nested tuples, attributes that the model writes."""

from __future__ import annotations

import dataclasses
import random

import torch
from torch import nn

from tests.specialize.programs import Case

HIDDEN = 4


class Node:
    """A binary tree."""

    def __init__(self, word, left=None, right=None):
        self.word, self.left, self.right = word, left, right

    @property
    def is_leaf(self):
        return self.left is None

    def size(self):
        return 1 if self.is_leaf else 1 + self.left.size() + self.right.size()


def binary_tree(seed, depth=5):
    rng = random.Random(seed)

    def grow(level):
        if level == 0 or rng.random() < 0.3:
            return Node(rng.randrange(10))
        return Node(rng.randrange(10), grow(level - 1), grow(level - 1))

    return grow(depth)


class Fold(nn.Module):
    """A recursive method: its base case first."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, HIDDEN)
        self.combine = nn.Linear(2 * HIDDEN, HIDDEN)

    def fold(self, node):
        if node.is_leaf:
            return self.embedding(torch.tensor([node.word]))
        left, right = self.fold(node.left), self.fold(node.right)
        return torch.tanh(self.combine(torch.cat([left, right], dim=1)))

    def forward(self, tree):
        return self.fold(tree), tree.size()


class Itself(Fold):
    """The compiled method is recursive, and returns a number beside the tensor."""

    def forward(self, node):
        if node.left is None and node.right is None:
            return self.embedding(torch.tensor([node.word])), 1
        left, here = self(node.left)
        right, there = self(node.right)
        return torch.tanh(self.combine(torch.cat([left, right], dim=1))), max(here, there) + 1


class Closure(Fold):
    """The recursive function is made inside of forward."""

    def forward(self, tree):
        def walk(node, depth):
            if node is None:
                return torch.zeros(1, HIDDEN)
            found = walk(node.left, depth + 1) + walk(node.right, depth + 1)
            return found + self.embedding(torch.tensor([node.word])) / depth

        return walk(tree, 1)


class Decided(Fold):
    """What the data decides, inside of recursion."""

    def fold(self, node):
        x = self.embedding(torch.tensor([node.word]))
        if node.is_leaf:
            return x
        x = x + self.fold(node.left)
        if x.sum() > 0:
            x = x * 0.5 + self.fold(node.right)
        return torch.tanh(x)

    def forward(self, tree):
        return self.fold(tree)


class Counting(Fold):
    """Recursion writes state of the model."""

    def __init__(self):
        super().__init__()
        self.visited = 0
        self.register_buffer("mean", torch.zeros(1, HIDDEN))

    def fold(self, node):
        self.visited += 1
        if node.is_leaf:
            x = self.embedding(torch.tensor([node.word]))
            self.mean.mul_(0.9).add_(x, alpha=0.1)
            return x
        return torch.tanh(self.fold(node.left) - self.fold(node.right))

    def forward(self, tree):
        return self.fold(tree) + self.mean


class Writing(Fold):
    """The model hangs its results on the tree, and reads them back."""

    def visit(self, node):
        if node.is_leaf:
            node.state = (self.embedding(torch.tensor([node.word])), node.word)
        else:
            self.visit(node.left)
            self.visit(node.right)
            (left, a), (right, b) = node.left.state, node.right.state
            node.state = (torch.tanh(self.combine(torch.cat([left, right], dim=1))), a + b)

    def forward(self, tree):
        self.visit(tree)
        return tree.state[0], tree.state[1]


class Nested(Fold):
    """A tree of nested tuples."""

    def fold(self, tree):
        if isinstance(tree, tuple):
            left, right = tree
            return torch.tanh(self.combine(torch.cat([self.fold(left), self.fold(right)], dim=1)))
        return self.embedding(torch.tensor([tree]))

    def forward(self, tree):
        return self.fold(tree)


def tuple_tree(seed, depth=5):
    rng = random.Random(seed)

    def grow(level):
        if level == 0 or (level < depth and rng.random() < 0.3):
            return rng.randrange(10)
        return (grow(level - 1), grow(level - 1))

    return grow(depth)


@dataclasses.dataclass
class Leaf:
    value: torch.Tensor


@dataclasses.dataclass
class Pair:
    op: str
    parts: list


class Expression(nn.Module):
    """A union of classes, text that decides, tensors inside of the objects."""

    def __init__(self):
        super().__init__()
        self.ops = nn.ModuleDict({"add": nn.Linear(HIDDEN, HIDDEN), "mul": nn.Linear(HIDDEN, HIDDEN)})

    def evaluate(self, node):
        if isinstance(node, Leaf):
            return node.value
        total = torch.zeros(1, HIDDEN)
        for part in node.parts:
            found = self.evaluate(part)
            total = total + found if node.op == "add" else total * found + found
        return self.ops[node.op](total)

    def forward(self, tree):
        return self.evaluate(tree)


def expression(seed, depth=3):
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)

    def grow(level):
        if level == 0 or (level < depth and rng.random() < 0.3):
            return Leaf(torch.randn(1, HIDDEN, generator=generator))
        return Pair(rng.choice(["add", "mul"]), [grow(level - 1) for _ in range(rng.randrange(1, 4))])

    return grow(depth)


class Numbers(nn.Module):
    """Recursion over a number that only the run knows."""

    def shrink(self, x, n):
        if n <= 0:
            return x
        return self.shrink(torch.tanh(x) * 0.9, n - 1)

    def forward(self, x):
        return self.shrink(x, int(x.abs().sum()))


class Mutual(Fold):
    """Two functions that call each other."""

    def even(self, node):
        return self.embedding(torch.tensor([node.word])) + (0 if node.is_leaf else self.odd(node.left))

    def odd(self, node):
        x = self.embedding(torch.tensor([node.word]))
        return x if node.is_leaf else torch.tanh(x + self.even(node.right))

    def forward(self, tree):
        return self.even(tree)


class Chain(nn.Module):
    """A linked list is walked in a loop; the end is found by identity."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, HIDDEN)

    def forward(self, head, last):
        x, node = self.embedding(torch.tensor([head.word])), head
        while node is not last:
            node = node.left
            x = torch.tanh(x) + self.embedding(torch.tensor([node.word]))
        return x


def chain(seed):
    rng = random.Random(seed)
    last = node = Node(rng.randrange(10))
    for _ in range(rng.randrange(1, 6)):
        node = Node(rng.randrange(10), node)
    return node, last


class Children:
    def __init__(self, word, children):
        self.word, self.children = word, children


class Found:
    """A result of a class of the model's own."""

    def __init__(self, hidden, label):
        self.hidden, self.label = hidden, label


class Stacked(Fold):
    """What the children give is a list of run-time length, put together by torch."""

    def fold(self, node):
        x = self.embedding(torch.tensor([node.word]))
        if not node.children:
            return x
        found = torch.cat([self.fold(child) for child in node.children], dim=0)
        return torch.tanh(x + (torch.sigmoid(found) * found).sum(0, keepdim=True))

    def forward(self, tree):
        hidden = self.fold(tree)
        return Found(hidden, 1 if hidden.sum() > 0 else None)


def children_tree(seed):
    rng = random.Random(seed)

    def grow(depth):
        return Children(rng.randrange(10), [grow(depth - 1) for _ in range(rng.randrange(4) if depth else 0)])

    return grow(3)


class ChildStates(nn.Module):
    """What recursion hung on the children, put together by `zip(*map(...))`; the nodes once more, level by level."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, HIDDEN)

    def fold(self, node):
        for child in node.children:
            self.fold(child)
        x = self.embedding(torch.tensor([node.word]))
        if len(node.children) == 0:
            node.state = (x, x * 0.5)
        else:
            some, others = zip(*map(lambda child: child.state, node.children))
            node.state = (x + torch.cat(some).sum(0, keepdim=True), torch.tanh(torch.cat(others).mean(0, keepdim=True)))
        return node.state

    def forward(self, tree):
        state = self.fold(tree)
        queue, words = [tree], []
        while queue:
            node = queue.pop(0)
            words.append(node.word)
            queue.extend(node.children)
        return state, words


CASES = [
    Case(ChildStates, lambda seed: (children_tree(seed),)),
    Case(Stacked, lambda seed: (children_tree(seed),)),
    *[
        Case(model, lambda seed: (binary_tree(seed),))
        for model in (Fold, Itself, Closure, Decided, Counting, Writing, Mutual)
    ],
    Case(Nested, lambda seed: (tuple_tree(seed),)),
    Case(Expression, lambda seed: (expression(seed),)),
    Case(Numbers, lambda seed: (torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)) * 3,)),
    Case(Chain, chain),
]
