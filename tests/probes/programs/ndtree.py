"""Neural decision tree / soft decision tree at inference: descend by sign over node objects; hierarchical softmax path."""

import torch
from torch import nn


class InnerNode:
    def __init__(self, depth, args, path=""):
        self.depth = depth
        self.args = args
        self.path = path
        self.fc = nn.Linear(args["input_dim"], 1)
        self.left, self.right = None, None
        self.leaf = False
        if depth < args["max_depth"]:
            self.left = InnerNode(depth + 1, args, path + "l")
            self.right = InnerNode(depth + 1, args, path + "r")
        else:
            self.left, self.right = LeafNode(args, path + "l"), LeafNode(args, path + "r")

    def get_prob(self, x):
        return torch.sigmoid(self.fc(x))

    def select_next(self, x):
        prob = self.get_prob(x)
        if prob < 0.5:
            return self.left, prob
        else:
            return self.right, prob


class LeafNode:
    def __init__(self, args, path):
        self.path = path
        self.param = nn.Parameter(torch.randn(args["output_dim"]))
        self.leaf = True
        self.softmax = nn.Softmax(dim=0)

    def get_prob(self):
        return self.softmax(self.param)


class SoftDecisionTree(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.root = InnerNode(1, args)
        self.collect_parameters()

    def collect_parameters(self):
        nodes = [self.root]
        self.module_list = nn.ModuleList()
        self.param_list = nn.ParameterList()
        while nodes:
            node = nodes.pop(0)
            if node.leaf:
                self.param_list.append(node.param)
            else:
                self.module_list.append(node.fc)
                nodes.append(node.left)
                nodes.append(node.right)

    def forward(self, x):
        outs, paths = [], []
        for i in range(x.size(0)):
            node = self.root
            path_prob = x.new_ones(1)
            while not node.leaf:
                nxt, p = node.select_next(x[i : i + 1])
                path_prob = path_prob * (p if nxt is node.right else 1 - p).view(-1)
                node = nxt
            outs.append(node.get_prob() * path_prob)
            paths.append(node.path)
        return torch.stack(outs), paths


def build():
    torch.manual_seed(0)
    return SoftDecisionTree({"input_dim": 5, "output_dim": 3, "max_depth": 3}).eval()


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(2, 5, generator=g),)
