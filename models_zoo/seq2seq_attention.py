"""A recurrent encoder and decoder with attention, decoded greedily or by beam search.

Bahdanau, Cho, Bengio, Neural Machine Translation by Jointly Learning to Align and Translate, ICLR 2015. Dynamic: both
decoders stop at the end token; beam search keeps its hypotheses in Python, those that have ended apart.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.score = nn.Linear(dim, 1, bias=False)

    def forward(self, hidden, memory):
        energy = torch.tanh(self.query(hidden).unsqueeze(1) + self.key(memory))
        weights = F.softmax(self.score(energy).squeeze(-1), dim=-1)
        return torch.bmm(weights.unsqueeze(1), memory).squeeze(1)


class Seq2Seq(nn.Module):
    def __init__(self, vocab=20, dim=24, max_len=16, beam_size=3, bos=1, eos=2):
        super().__init__()
        self.max_len, self.beam_size, self.bos, self.eos = max_len, beam_size, bos, eos
        self.embed = nn.Embedding(vocab, dim)
        self.encoder = nn.GRU(dim, dim, batch_first=True)
        self.attention = Attention(dim)
        self.cell = nn.GRUCell(2 * dim, dim)
        self.out = nn.Linear(dim, vocab)

    def encode(self, source):
        memory, hidden = self.encoder(self.embed(source))
        return memory, hidden[-1]

    def step(self, token, hidden, memory):
        context = self.attention(hidden, memory)
        hidden = self.cell(torch.cat([self.embed(torch.tensor([token])), context], dim=-1), hidden)
        return F.log_softmax(self.out(hidden), dim=-1), hidden

    def greedy(self, memory, hidden):
        token, words = self.bos, []
        for _ in range(self.max_len):
            scores, hidden = self.step(token, hidden, memory)
            token = scores.argmax(dim=-1).item()
            if token == self.eos:
                break
            words.append(token)
        return words

    def beam_search(self, memory, hidden):
        beams = [(0.0, [self.bos], hidden)]
        finished = []
        for _ in range(self.max_len):
            candidates = []
            for score, words, hidden in beams:
                scores, hidden = self.step(words[-1], hidden, memory)
                values, indices = scores[0].topk(self.beam_size)
                for value, index in zip(values.tolist(), indices.tolist(), strict=True):
                    candidates.append((score + value, [*words, index], hidden))
            candidates.sort(key=lambda candidate: candidate[0], reverse=True)
            beams = []
            for score, words, hidden in candidates[: self.beam_size]:
                if words[-1] == self.eos:
                    finished.append((score / len(words), words[1:-1]))
                else:
                    beams.append((score, words, hidden))
            if not beams or len(finished) >= self.beam_size:
                break
        if not finished:
            finished = [(score / len(words), words[1:]) for score, words, _ in beams]
        return max(finished, key=lambda hypothesis: hypothesis[0])

    def forward(self, source):
        memory, hidden = self.encode(source)
        score, words = self.beam_search(memory, hidden)
        return self.greedy(memory, hidden), words, score


def build(seed=0, max_len=16):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Seq2Seq(max_len=max_len)
        for parameter in model.parameters():  # sharper than PyTorch's default: sentences differ and most of them end
            nn.init.normal_(parameter, std=0.6)
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """A sentence of five words."""
    rng = torch.Generator().manual_seed(seed)
    return (torch.randint(3, 20, (1, 5), generator=rng),)
