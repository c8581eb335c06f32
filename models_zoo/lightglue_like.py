"""LightGlue: a keypoint matcher that is adaptive in depth and in width.

Lindenberger, Sarlin, Pollefeys: "LightGlue: Local Feature Matching at Light Speed", ICCV 2023.

Dynamic: after each layer every keypoint says how confident it is; inference stops when enough of them are, and
otherwise keypoints that are confidently unmatchable are dropped, so the next layer works on fewer. Matches are
found by mutual nearest neighbours above a threshold, a list of any length.
"""

import torch
from torch import nn
from torch.nn import functional as F


def normalize_keypoints(keypoints, size):
    shift = size / 2
    scale = size.max(-1).values / 2
    return (keypoints - shift[:, None]) / scale[:, None, None]


def rotate_half(x):
    x1, x2 = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((-x2, x1), dim=-1).flatten(start_dim=-2)


def apply_rotary(freqs, t):
    return t * freqs[0] + rotate_half(t) * freqs[1]


class LearnableFourierPositionalEncoding(nn.Module):
    def __init__(self, head_dim):
        super().__init__()
        self.Wr = nn.Linear(2, head_dim // 2, bias=False)

    def forward(self, x):
        projected = self.Wr(x)
        emb = torch.stack([torch.cos(projected), torch.sin(projected)], 0).unsqueeze(-3)
        return emb.repeat_interleave(2, dim=-1)


class TokenConfidence(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.token = nn.Sequential(nn.Linear(dim, 1), nn.Sigmoid())

    def forward(self, desc0, desc1):
        return self.token(desc0.detach()).squeeze(-1), self.token(desc1.detach()).squeeze(-1)


class FeedForward(nn.Sequential):
    def __init__(self, dim):
        super().__init__(nn.Linear(2 * dim, 2 * dim), nn.LayerNorm(2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))


class SelfBlock(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.Wqkv = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)
        self.ffn = FeedForward(dim)

    def forward(self, x, encoding):
        qkv = self.Wqkv(x).unflatten(-1, (self.num_heads, -1, 3)).transpose(1, 2)
        q, k, v = qkv[..., 0], qkv[..., 1], qkv[..., 2]
        context = F.scaled_dot_product_attention(apply_rotary(encoding, q), apply_rotary(encoding, k), v)
        message = self.out_proj(context.transpose(1, 2).flatten(start_dim=-2))
        return x + self.ffn(torch.cat([x, message], -1))


class CrossBlock(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.to_qk = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim)
        self.ffn = FeedForward(dim)

    def forward(self, x0, x1):
        qk0, qk1 = self.to_qk(x0), self.to_qk(x1)
        v0, v1 = self.to_v(x0), self.to_v(x1)
        qk0, qk1, v0, v1 = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (qk0, qk1, v0, v1))
        qk0, qk1 = qk0 * self.scale**0.5, qk1 * self.scale**0.5
        sim = torch.einsum("bhid,bhjd->bhij", qk0, qk1)
        attn01 = F.softmax(sim, dim=-1)
        attn10 = F.softmax(sim.transpose(-2, -1).contiguous(), dim=-1)
        m0 = torch.einsum("bhij,bhjd->bhid", attn01, v1)
        m1 = torch.einsum("bhji,bhjd->bhid", attn10.transpose(-2, -1), v0)
        m0, m1 = (self.to_out(t.transpose(1, 2).flatten(start_dim=-2)) for t in (m0, m1))
        x0 = x0 + self.ffn(torch.cat([x0, m0], -1))
        x1 = x1 + self.ffn(torch.cat([x1, m1], -1))
        return x0, x1


class TransformerLayer(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.self_attn = SelfBlock(dim, num_heads)
        self.cross_attn = CrossBlock(dim, num_heads)

    def forward(self, desc0, desc1, encoding0, encoding1):
        desc0 = self.self_attn(desc0, encoding0)
        desc1 = self.self_attn(desc1, encoding1)
        return self.cross_attn(desc0, desc1)


def sigmoid_log_double_softmax(sim, z0, z1):
    certainties = F.logsigmoid(z0) + F.logsigmoid(z1).transpose(1, 2)
    scores0 = F.log_softmax(sim, 2)
    scores1 = F.log_softmax(sim.transpose(-1, -2).contiguous(), 2).transpose(-1, -2)
    return scores0 + scores1 + certainties


class MatchAssignment(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.matchability = nn.Linear(dim, 1)
        self.final_proj = nn.Linear(dim, dim)

    def forward(self, desc0, desc1):
        mdesc0, mdesc1 = self.final_proj(desc0), self.final_proj(desc1)
        mdesc0, mdesc1 = mdesc0 / self.dim**0.25, mdesc1 / self.dim**0.25
        sim = torch.einsum("bmd,bnd->bmn", mdesc0, mdesc1)
        return sigmoid_log_double_softmax(sim, self.matchability(desc0), self.matchability(desc1))

    def get_matchability(self, desc):
        return torch.sigmoid(self.matchability(desc)).squeeze(-1)


def filter_matches(scores, threshold):
    """Mutual nearest neighbours whose score exceeds the threshold, as pairs of indices."""
    max0, max1 = scores.max(2), scores.max(1)
    m0, m1 = max0.indices, max1.indices
    indices0 = torch.arange(m0.shape[1], device=m0.device)[None]
    mutual0 = indices0 == m1.gather(1, m0)
    mscores0 = torch.where(mutual0, max0.values.exp(), max0.values.new_tensor(0))
    valid0 = mutual0 & (mscores0 > threshold)
    return m0, mscores0, valid0


class LightGlue(nn.Module):
    def __init__(
        self,
        descriptor_dim=32,
        num_heads=4,
        n_layers=5,
        depth_confidence=0.8,
        width_confidence=0.9,
        filter_threshold=0.1,
    ):
        super().__init__()
        self.n_layers = n_layers
        self.depth_confidence = depth_confidence
        self.width_confidence = width_confidence
        self.filter_threshold = filter_threshold
        self.posenc = LearnableFourierPositionalEncoding(descriptor_dim // num_heads)
        self.transformers = nn.ModuleList([TransformerLayer(descriptor_dim, num_heads) for _ in range(n_layers)])
        self.log_assignment = nn.ModuleList([MatchAssignment(descriptor_dim) for _ in range(n_layers)])
        self.token_confidence = nn.ModuleList([TokenConfidence(descriptor_dim) for _ in range(n_layers - 1)])
        self.register_buffer(
            "confidence_thresholds", torch.tensor([self.confidence_threshold(i) for i in range(n_layers)])
        )

    def confidence_threshold(self, layer_index):
        """Later layers may be less sure."""
        return 0.75 + 0.1 * 2.0 ** (-4.0 * layer_index / self.n_layers)

    def get_pruning_mask(self, confidences, scores, layer_index):
        """The keypoints to keep: those that may have a match, and those that are not sure yet."""
        keep = scores > (1 - self.width_confidence)
        if confidences is not None:
            keep |= confidences <= self.confidence_thresholds[layer_index]
        return keep

    def check_if_stop(self, confidences0, confidences1, layer_index, num_points):
        confidences = torch.cat([confidences0, confidences1], -1)
        threshold = self.confidence_thresholds[layer_index]
        ratio_confident = 1.0 - (confidences < threshold).float().sum() / num_points
        return ratio_confident > self.depth_confidence

    def forward(self, data):
        data0, data1 = data["image0"], data["image1"]
        kpts0, kpts1 = data0["keypoints"], data1["keypoints"]
        m, n = kpts0.shape[1], kpts1.shape[1]
        kpts0 = normalize_keypoints(kpts0, data0["image_size"])
        kpts1 = normalize_keypoints(kpts1, data1["image_size"])
        desc0, desc1 = data0["descriptors"], data1["descriptors"]
        encoding0, encoding1 = self.posenc(kpts0), self.posenc(kpts1)

        ind0 = torch.arange(0, m, device=kpts0.device)[None]
        ind1 = torch.arange(0, n, device=kpts1.device)[None]
        prune0, prune1 = torch.ones_like(ind0), torch.ones_like(ind1)
        token0, token1 = None, None
        for i in range(self.n_layers):
            if desc0.shape[1] == 0 or desc1.shape[1] == 0:  # no keypoints
                break
            desc0, desc1 = self.transformers[i](desc0, desc1, encoding0, encoding1)
            if i == self.n_layers - 1:
                continue  # no early stopping or pruning at the last layer
            token0, token1 = self.token_confidence[i](desc0, desc1)
            if self.check_if_stop(token0, token1, i, m + n):
                break
            scores0 = self.log_assignment[i].get_matchability(desc0)
            prunemask0 = self.get_pruning_mask(token0, scores0, i)
            keep0 = torch.where(prunemask0)[1]
            ind0 = ind0.index_select(1, keep0)
            desc0 = desc0.index_select(1, keep0)
            encoding0 = encoding0.index_select(-2, keep0)
            prune0[:, ind0] += 1
            scores1 = self.log_assignment[i].get_matchability(desc1)
            prunemask1 = self.get_pruning_mask(token1, scores1, i)
            keep1 = torch.where(prunemask1)[1]
            ind1 = ind1.index_select(1, keep1)
            desc1 = desc1.index_select(1, keep1)
            encoding1 = encoding1.index_select(-2, keep1)
            prune1[:, ind1] += 1

        if desc0.shape[1] == 0 or desc1.shape[1] == 0:
            empty = torch.zeros(0, 2, dtype=torch.long, device=kpts0.device)
            return {"matches": empty, "scores": desc0.new_zeros(0), "stop": i + 1, "prune0": prune0, "prune1": prune1}

        scores = self.log_assignment[i](desc0, desc1)
        m0, mscores0, valid0 = filter_matches(scores, self.filter_threshold)
        m_indices_0 = torch.where(valid0[0])[0]
        m_indices_1 = m0[0][m_indices_0]
        matches = torch.stack([ind0[0, m_indices_0], ind1[0, m_indices_1]], -1)
        mscores = mscores0[0][m_indices_0]
        return {"matches": matches, "scores": mscores, "stop": i + 1, "prune0": prune0, "prune1": prune1}


def build(seed=0):
    """Random weights; the confidences are spread so that pairs of images differ in depth and width."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LightGlue()
        for layer in model.token_confidence:
            nn.init.normal_(layer.token[0].weight, std=0.35)
            nn.init.constant_(layer.token[0].bias, 2.2)
        for layer in model.log_assignment:
            nn.init.normal_(layer.matchability.weight, std=0.6)
            nn.init.constant_(layer.matchability.bias, -1.5)
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """Two images of 24 and 20 keypoints; some of the second are points of the first, moved a little.

    Every fifth pair shows a wall and something else: the wall's keypoints look alike, and match nothing.
    """
    rng = torch.Generator().manual_seed(seed)
    spread = 0.3 + 1.7 * torch.rand((), generator=rng)
    offset = torch.randn(1, 1, 32, generator=rng) * spread
    is_wall = seed % 5 == 3
    texture, shared = (0.02, 0) if is_wall else (1.0, 8 + 4 * (seed % 4))
    offset = offset * 4 if is_wall else offset
    keypoints0 = torch.rand(1, 24, 2, generator=rng) * torch.tensor([640.0, 480.0])
    descriptors0 = torch.randn(1, 24, 32, generator=rng) * spread * texture + offset
    keypoints1 = torch.rand(1, 20, 2, generator=rng) * torch.tensor([640.0, 480.0])
    keypoints1[:, :shared] = keypoints0[:, :shared] + 5.0
    descriptors1 = torch.randn(1, 20, 32, generator=rng) * spread - offset
    descriptors1[:, :shared] = descriptors0[:, :shared] + 0.05 * torch.randn(1, shared, 32, generator=rng)
    size = torch.tensor([[640.0, 480.0]])
    return (
        {
            "image0": {"keypoints": keypoints0, "descriptors": descriptors0, "image_size": size},
            "image1": {"keypoints": keypoints1, "descriptors": descriptors1, "image_size": size.clone()},
        },
    )
