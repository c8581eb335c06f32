"""`min` and `max` of run-time integers inside of one another: such a number gets a name, and what the facts say of it.

Before: `x = min(max(i, 0), 26)` is `Min(26, Max(0, i))`, and a crop of the picture from there has a size of five
extremes, which each question about it goes through by all their cases. After: `x` is `u7`, between 0 and 26 and at most
`Max(0, i)`. What is not learned here is not known later, which is a decision more and never a wrong one.
"""

from __future__ import annotations

import sympy
from torch.utils._sympy.functions import Max, Min

from dycl.passes.specialize.facts import Facts


def is_nested(expr: sympy.Basic) -> bool:
    """Whether an integer is put together of several extremes, or is one of several that only the run knows.

    An extreme of one number and a constant stays what it is: torch's own cuts have such sizes, too.
    """
    if not isinstance(expr, (Max, Min)):
        return False
    return len(expr.atoms(Max, Min)) > 1 or not any(part.is_number for part in expr.args)


def learn_extreme(facts: Facts, symbol: sympy.Symbol, expr: sympy.Basic) -> None:
    """What is known of a number by its expression, for the symbol that stands for it."""
    low, high = facts.bounds(expr)
    others = sorted({part for extreme in expr.atoms(Max, Min) for part in extreme.args if not part.is_number}, key=str)
    above = [part for part in others if facts.decide(sympy.Ge(expr, part)) == sympy.true]
    below = [part for part in others if facts.decide(sympy.Le(expr, part)) == sympy.true]
    facts.intervals[symbol] = (low, high)
    for part in above:
        facts.learn(sympy.Ge(symbol, part), True)
    for part in below:
        facts.learn(sympy.Le(symbol, part), True)
