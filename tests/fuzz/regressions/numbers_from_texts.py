# inputs: row
"""Numbers read from texts, and the text of a list of run-time length, were refused."""

from torch import nn


class Model(nn.Module):
    def forward(self, x):
        b = x.sum().item()
        n = (x > 0).sum().item()
        out = [float(f"{b:.2f}"), int(f"{n}"), int(f"{n}7"), float(str(b))]
        try:
            out.append(int(f"{b:.2f}"))
        except ValueError as e:
            out.append(str(e))
        name = "3" if b > 0 else "high"
        try:
            out.append(float(f"{name}{n}"))
        except ValueError as e:
            out.append(str(e))
        seen = []
        pairs = []
        for i in range(n):
            seen.append(i * b)
            pairs.append((i, f"a'{i}"))
        out.append(f"{seen}")
        out.append(str(seen) + repr([k + 1 for k in range(n)]))
        return out, f"{pairs!r}"
