"""PonderNet: a recurrent network that learns when to stop.

Banino, Balaguer, Blundell: "PonderNet: Learning to Ponder", ICML 2021 workshop.

Dynamic: after every step each example of the batch halts with a probability that the network gives, a Bernoulli draw.
The loop ends when all have halted, at the latest after `max_steps`. Draws random numbers at inference: compile with
`--rng host`.
"""

import torch
from torch import nn


class ParityPonderGRU(nn.Module):
    def __init__(self, n_elems=8, n_hidden=16, max_steps=6):
        super().__init__()
        self.max_steps = max_steps
        self.n_hidden = n_hidden
        self.gru = nn.GRUCell(n_elems, n_hidden)
        self.output_layer = nn.Linear(n_hidden, 1)
        self.lambda_layer = nn.Linear(n_hidden, 1)
        self.lambda_prob = nn.Sigmoid()
        self.is_halt = True

    def forward(self, x):
        batch_size = x.shape[0]
        h = x.new_zeros((x.shape[0], self.n_hidden))
        h = self.gru(x, h)

        p = []
        un_halted_prob = h.new_ones((batch_size,))
        halted = h.new_zeros((batch_size,))
        p_m = h.new_zeros((batch_size,))
        y_m = h.new_zeros((batch_size,))
        steps = 0
        for n in range(1, self.max_steps + 1):
            if n == self.max_steps:
                lambda_n = h.new_ones(h.shape[0])
            else:
                lambda_n = self.lambda_prob(self.lambda_layer(h))[:, 0]
            y_n = self.output_layer(h)[:, 0]

            p_n = un_halted_prob * lambda_n
            un_halted_prob = un_halted_prob * (1 - lambda_n)
            halt = torch.bernoulli(lambda_n) * (1 - halted)
            p.append(p_n)

            p_m = p_m * (1 - halt) + p_n * halt
            y_m = y_m * (1 - halt) + y_n * halt
            halted = halted + halt
            h = self.gru(x, h)
            steps = n
            if self.is_halt and halted.sum() == batch_size:
                break
        return torch.stack(p), p_m, y_m, steps


def build(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ParityPonderGRU()
        nn.init.constant_(model.lambda_layer.bias, -0.5)
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """Three vectors of -1, 0 and 1, whose parity is asked for."""
    rng = torch.Generator().manual_seed(seed)
    return (torch.randint(-1, 2, (3, 8), generator=rng).float(),)
