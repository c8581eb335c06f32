# inputs: row
"""Tuples with run-time numbers as keys of a dict, `list.index` that finds nothing, `int.bit_length`: refused."""

from torch import nn


class Model(nn.Module):
    def forward(self, x):
        n = (x > 0).sum().item() * 3 - 4
        a, b, *_ = x[0].tolist()
        table = {(1, "a"): 5, (2, "b"): 6, (-1, "a"): x, (2,): 8, 2: 9}
        try:
            got = table[n, "b"]
        except KeyError as error:
            got = error.args
        places = []
        for items, value in (([1, n, 3], 2), ([a, b], max(a, 0.05)), ((n, 2), 4), ([n], 1.0), ([True, n], 0)):
            try:
                places.append(items.index(value))
            except ValueError as error:
                places.append(str(error))
        found = table.get((n, "a"), 3), table.get((n,)), (n, "a") in table, (n, n) not in table.keys()
        return n.bit_length(), (n > 3).bit_length(), got, places, found
