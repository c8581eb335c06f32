"""Facts about the largest and the smallest of several sizes."""

from __future__ import annotations

import sympy
from torch.utils._sympy.functions import Max, Min

from dycl.passes.specialize.facts import Facts

a, b, c = (sympy.Symbol(name, integer=True) for name in "abc")


def test_an_extreme_is_one_of_its_arguments() -> None:
    facts = Facts({symbol: (sympy.Integer(0), sympy.Integer(9)) for symbol in (a, b, c)})
    assert facts.decide(sympy.Ge(Max(a, b) - a, 0)) == sympy.true
    assert facts.decide(sympy.Ge(a - Min(a, b), 0)) == sympy.true
    assert facts.decide(sympy.Le(Min(a, b), Max(b, c))) == sympy.true
    assert facts.decide(sympy.Lt(Max(a, b), a)) == sympy.false
    assert facts.decide(sympy.Ge(Max(a, b) - c, 0)) is None
    assert facts.decide(sympy.Ge(a - Max(a, b), 0)) is None
    facts.learn(sympy.Ge(c, a), True)
    assert facts.decide(sympy.Ge(c - Min(a, b), 0)) == sympy.true
    assert facts.decide(sympy.Ge(c - Max(a, b), 0)) is None
