"""Values replaced by others."""

from __future__ import annotations

import pytest

from dycl.diagnostics import InternalError
from dycl.ir.dataflow import uses
from dycl.ir.printer import print_ir
from dycl.ir.substitution import substitute
from dycl.ir.values import Lit, Ref, Seq, SeqKind, ValueId
from tests.ir.tangled import PROGRAM


def test_substitution_reaches_every_use() -> None:
    new = substitute(PROGRAM, {ValueId(20): Lit(4), ValueId(70): Seq(SeqKind.TUPLE, (Ref(ValueId(7)),))})
    text = print_ir(new)
    assert "%21: bool = host lt(4, (%7,))" in text
    assert "return (4, [(%7,)]) resume 1 state (4)" in text
    assert "branch %71 ? b5 : b0((%7,))" in text
    assert not {ValueId(20), ValueId(70)} & set(uses(new))


def test_a_condition_cannot_become_a_literal() -> None:
    with pytest.raises(InternalError, match="%71 stands where only a value can stand"):
        substitute(PROGRAM, {ValueId(71): Lit(True)})
