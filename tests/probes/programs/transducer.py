"""Greedy decoding of a transducer: blank loop with a maximum of symbols a frame; lists of labels; label_reps."""

import torch
from torch import nn


class RNNT(nn.Module):
    def __init__(self, feat=6, hid=12, vocab=7, max_symbols=3):
        super().__init__()
        self.encoder = nn.GRU(feat, hid, batch_first=True)
        self.embed = nn.Embedding(vocab - 1, hid)
        self.predict = nn.LSTMCell(hid, hid)
        self.joint = nn.Sequential(nn.Linear(2 * hid, hid), nn.Tanh(), nn.Linear(hid, vocab))
        self.blank = vocab - 1
        self.max_symbols = max_symbols
        self.hid = hid

    def _pred_step(self, label, hidden):
        if label == self.blank or label is None:
            e = torch.zeros(1, self.hid)
        else:
            if label > self.blank:
                label -= 1
            e = self.embed(torch.tensor([label]))
        if hidden is None:
            hidden = (torch.zeros(1, self.hid), torch.zeros(1, self.hid))
        h, c = self.predict(e, hidden)
        return h, (h, c)

    def _get_last_symb(self, labels):
        return self.blank if len(labels) == 0 else labels[-1]

    @torch.no_grad()
    def forward(self, x, out_lens=None):
        f, _ = self.encoder(x)
        hidden = None
        label = []
        time = x.shape[1] if out_lens is None else int(out_lens.item())
        for t in range(time):
            frame = f[:, t]
            not_blank = True
            symbols_added = 0
            while not_blank and (self.max_symbols is None or symbols_added < self.max_symbols):
                g, hidden_prime = self._pred_step(self._get_last_symb(label), hidden)
                logp = self.joint(torch.cat((frame, g), dim=1))[0]
                v, k = logp.max(0)
                k = k.item()
                if k == self.blank:
                    not_blank = False
                else:
                    label.append(k)
                    hidden = hidden_prime
                symbols_added += 1
        return label


def build():
    torch.manual_seed(7)
    m = RNNT().eval()
    m.joint[2].weight.data *= 6
    m.joint[2].bias.data[-1] += 1.0
    return m


def sample_inputs(s):
    g = torch.Generator().manual_seed(s)
    return (torch.randn(1, 9, 6, generator=g) * 2, torch.tensor([4 + s % 6]))
