"""Every row of the table in docs/semantics.md holds: supported models agree with eager on every path of their program,
by the reference executor and by the generated host; refused ones say their code.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from dycl.api import compile as compile_model
from dycl.diagnostics import DyclError, TargetError
from dycl.pipeline import check_model
from dycl.sampling import Sample
from dycl.settings import Settings
from dycl.verification import VerificationReport, verify_model
from tests.conformance.catalogue import SECTIONS
from tests.conformance.table import Construct, write_table
from tests.hostgen.harness import make_subject

CALLS = 12
CONSTRUCTS = [construct for section in SECTIONS for construct in section.constructs]
PAGE = Path(__file__).parents[2] / "docs" / "semantics.md"


def build(construct: Construct) -> torch.nn.Module:
    """The model, with the same weights each time."""
    torch.manual_seed(0)
    return construct.model().eval()


def verify(construct: Construct) -> VerificationReport:
    """Compile without a target, then hold executor and host against eager; torch runs the host's subgraphs."""
    model = build(construct)
    checked = check_model(model, construct.inputs(0), {}, Settings())
    samples = [Sample(f"seed {seed}", construct.inputs(seed), {}) for seed in range(CALLS)]
    return verify_model(make_subject(checked, model), samples)


def _cases(constructs: list[Construct]) -> list[Any]:
    mark = pytest.mark.xfail(strict=True, reason="not yet: if it works now, make its row a `yes`")
    return [pytest.param(c, id=c.model.__name__, marks=[mark] if c.is_gap else []) for c in constructs]


@pytest.mark.parametrize("construct", _cases([c for c in CONSTRUCTS if not c.code]))
def test_a_supported_construct_agrees_with_eager_on_every_path(construct: Construct) -> None:
    report = verify(construct)
    assert report.calls == CALLS
    assert report.ties == ()
    assert len(report.unreached) <= construct.unreachable, report.unreached


@pytest.mark.parametrize("construct", _cases([c for c in CONSTRUCTS if c.code]))
def test_a_refused_construct_says_where(construct: Construct) -> None:
    with pytest.raises(DyclError) as refused:
        check_model(build(construct), construct.inputs(0), {}, Settings())
    assert refused.value.code == construct.code
    assert refused.value.loc.line or construct.code == "DY214"


# Refused by torch's exporter although the program is right; the row says so.
NOT_EXPORTED = {"RuntimeSlice"}


@pytest.mark.slow
@pytest.mark.parametrize("construct", _cases([c for c in CONSTRUCTS if not c.code and not c.is_gap]))
def test_a_supported_construct_compiles(construct: Construct) -> None:
    """Through ONNX and the target's runtime."""
    if construct.model.__name__ in NOT_EXPORTED:
        with pytest.raises(TargetError, match="DY401"):
            compile_model(build(construct), construct.inputs(0))
        return
    model = build(construct)
    compiled = compile_model(model, construct.inputs(0), samples=CALLS, sample_inputs=construct.inputs)
    assert compiled.report is not None
    assert compiled.report.verification is not None
    assert compiled.report.verification.ties == ()


def test_every_model_has_one_row() -> None:
    names = [(c.model.__module__, c.model.__name__) for c in CONSTRUCTS]
    rows = [c.row for c in CONSTRUCTS]
    assert len(set(names)) == len(names) >= 150
    assert len(set(rows)) == len(rows)


def test_the_page_is_what_the_table_says() -> None:
    spec = importlib.util.spec_from_file_location("docs_semantics", PAGE.with_suffix(".py"))
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = PAGE.read_text(encoding="utf-8")
    assert page == script.updated(page, write_table(SECTIONS)), "run `python docs/semantics.py`"
