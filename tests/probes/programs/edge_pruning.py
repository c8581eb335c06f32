"""Graph network: edges filtered by a learnt threshold, neighbours by index, scatter by loop and by index_add, subgraph pooling, empty graph."""

import torch
from torch import nn


def scatter_add(src, index, dim_size):
    out = torch.zeros(dim_size, src.size(1), dtype=src.dtype)
    return out.scatter_add_(0, index.view(-1, 1).expand_as(src), src)


class DynGNN(nn.Module):
    def __init__(self, d=6, layers=3):
        super().__init__()
        self.lin = nn.ModuleList(nn.Linear(2 * d, d) for _ in range(layers))
        self.edge = nn.Bilinear(d, d, 1)
        self.score = nn.Linear(d, 1)
        self.ratio = 0.5

    def forward(self, x, edge_index):
        batch = torch.zeros(x.size(0), dtype=torch.long)
        outs = []
        for lin in self.lin:
            if edge_index.size(1) == 0:
                outs.append(x.mean(0))
                break
            src, dst = edge_index
            w = torch.sigmoid(self.edge(x[src], x[dst])).squeeze(-1)
            keep = w > 0.4
            edge_index = edge_index[:, keep]
            src, dst = edge_index
            agg = scatter_add(x[src] * w[keep].unsqueeze(-1), dst, x.size(0))
            deg = torch.bincount(dst, minlength=x.size(0)).clamp(min=1).unsqueeze(-1)
            x = torch.relu(lin(torch.cat([x, agg / deg], 1)))
            k = max(1, int(self.ratio * x.size(0)))
            s, perm = torch.topk(torch.tanh(self.score(x)).view(-1), k)
            mask = torch.full((x.size(0),), -1, dtype=torch.long)
            mask[perm] = torch.arange(k)
            x = x[perm] * s.view(-1, 1)
            row, col = mask[edge_index[0]], mask[edge_index[1]]
            valid = (row >= 0) & (col >= 0)
            edge_index = torch.stack([row[valid], col[valid]], dim=0)
            outs.append(x.mean(0))
        return torch.stack(outs).sum(0), len(outs), x.shape[0]


def build():
    torch.manual_seed(16)
    m = DynGNN().eval()
    m.edge.weight.data *= 3
    return m


def sample_inputs(s):
    g = torch.Generator().manual_seed(s)
    return (torch.randn(8, 6, generator=g), torch.randint(0, 8, (2, 14), generator=g))
