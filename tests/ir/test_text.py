"""The text form of programs: what it looks like, and that it is read back as it was."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dycl.diagnostics import UNKNOWN, InternalError, SourceRange
from dycl.ir.nodes import (
    Block,
    Branch,
    CallFunction,
    CallModule,
    Dispatch,
    Edge,
    HostOp,
    Jump,
    Raise,
    Return,
    Subgraph,
    TensorOp,
)
from dycl.ir.parser import parse_ir
from dycl.ir.printer import print_ir, print_operand
from dycl.ir.program import Entry, Param, ParamKind, Program, SourceFile, StateSlot, Tunable
from dycl.ir.values import (
    BlockId,
    InputLeaf,
    ListType,
    Lit,
    Mapping,
    Operand,
    Record,
    RecordKind,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    SliceOf,
    StructType,
    SubgraphId,
    TensorType,
    TorchLit,
    Value,
    ValueId,
    Weight,
)

SKIPNET = """\
program SkipNet method forward
file f0 = '/src/skipnet.py'
source '/src/skipnet.py' sha256 '3f9c'
tunable threshold: float = 0.5  @f0:31:8-31:30 SkipNet
param x: positional_or_keyword = input 0: float32[1, 64, n, 8]
param mask: keyword_only optional = None
initial ($h0)
entry b0 state 1
  slot cell.h = (%1, 'it\\'s "quoted"\\n')

subgraph s0 gate0 structure 2 (%0: float32[1, 64, n, 8]):  @f0:44:11-44:27
  %1: float32[1, 1] = module gates.0(%0)
  results (%1)

b0(%0 x: float32[1, 64, n, 8], %1 h: float32[]):  @f0:40:4-46:16 SkipNet.forward
  %2: float32[1, 1] = dispatch s0(%0)  @f0:44:11-44:27 SkipNet.forward
  %3: float = host item(%2)  @f0:44:11-44:34 'SkipNet.<locals>.f'
  %4: bool = host gt(%3, -1e-05)
  %5: float32[] = call torch.Tensor.add_(%1, 1, alpha=nan) mutates %1 -> %6 h: float32[]
  branch %4 ? b1 : b2(%0, inf)

b1:
  module '0'(%0)
  raise builtins:ValueError('no') writes (fill x = %6, append 'a b'[0]['c'] = 3) resume 0 state (%6)

b2(%7: float32[1, 64, n, 8], %8: float):
  return mapping transformers.out:Output(logits=%7, n=%8) writes (remove x['k'], set x[1] = (%8,)) resume 0 state (%6)
"""


def text_of(lines: str) -> str:
    """A program around the lines of its only block."""
    body = "".join(f"  {line.strip()}\n" for line in lines.strip().splitlines())
    return f"program P method forward\nentry b0\n\nb0:\n{body}"


def test_text_is_as_documented() -> None:
    assert print_ir(parse_ir(SKIPNET)) == SKIPNET


def test_spaces_comments_and_trailing_commas_mean_nothing() -> None:
    loose = "// head\n\nprogram P method forward // name\n\nentry b0\nb0():\n   return  ( 1,2 , )\n\n"
    assert parse_ir(loose) == parse_ir(text_of("return (1, 2)"))


def test_without_locations_no_path_is_left() -> None:
    loc = SourceRange("/home/me/model.py", 3, 1, 3, 9, "f")
    block = Block(id=BlockId(0), end=Return(value=Lit(None), loc=loc), loc=loc)
    sources = (SourceFile("/home/me/model.py", "00"),)
    program = Program(name="P", entries=(Entry(block=BlockId(0)),), blocks=(block,), sources=sources)
    text = print_ir(program, locations=False)
    assert "/home/me" not in text
    bare = replace(block, end=replace(block.end, loc=UNKNOWN), loc=UNKNOWN)
    assert parse_ir(text) == replace(program, blocks=(bare,), sources=())


# ---------------------------------------------------------------- everything comes back

_any_text = st.text(max_size=6) | st.sampled_from(
    ["", "a.b", "0.weight", 'it\'s "x"\n\\', "list", "torch", "\u2028", "//"]
)
_names = st.sampled_from(["x", "layers.3.weight", "é", "jump", "mutates", "size"]) | _any_text
_numbers = st.integers(0, 99)
_ids = _numbers.map(ValueId)
_literals = st.builds(
    Lit,
    st.none() | st.booleans() | st.integers() | st.floats().map(lambda f: math.nan if math.isnan(f) else f)
    | _any_text | st.just(...) | st.sampled_from([-0.0, math.inf, -math.inf, 1e300, 10**40]),
)  # fmt: skip
_constants = st.sampled_from(["torch.float32", "torch.device('cpu')", "torch.device('a\\'b')", "torch", "torch.f(1)"])
_dims = st.lists(_numbers | _names, max_size=3).map(tuple)
_tensors = st.builds(TensorType, st.sampled_from(["float32", "bool", "int64"]) | _names, _dims)
_scalars = st.builds(ScalarType, st.sampled_from(ScalarKind))
_leaf_types = _tensors | _scalars | st.builds(ListType, _tensors | _scalars)
_structs = st.lists(st.builds(InputLeaf, st.integers(0, 9), _leaf_types), max_size=3).map(
    lambda leaves: StructType(Seq(SeqKind.TUPLE, tuple(leaves)))
)
_types = _leaf_types | _structs | st.builds(ListType, _structs)
_values = st.builds(Value, _ids, _types, _names)
_locs = st.just(UNKNOWN) | st.builds(SourceRange, _names, _numbers, _numbers, _numbers, _numbers, _names)


def tuples(of: st.SearchStrategy, size: int = 3) -> st.SearchStrategy:
    """Tuples of a few."""
    return st.lists(of, max_size=size).map(tuple)


def _nested(inner: st.SearchStrategy) -> st.SearchStrategy:
    pairs = tuples(st.tuples(_names, inner))
    return (
        st.builds(Seq, st.sampled_from(SeqKind), tuples(inner))
        | st.builds(SliceOf, inner, inner, inner)
        | st.builds(Mapping, tuples(st.tuples(_literals, inner)))
        | st.builds(Record, st.sampled_from(RecordKind), _names | st.just("m.n:C.D"), pairs)
    )


_leaves = (
    st.builds(Ref, _ids) | _literals | st.builds(TorchLit, _constants | _any_text)
    | st.builds(Weight, _names) | st.builds(InputLeaf, _numbers, _types)
)  # fmt: skip
_operands = st.recursive(_leaves, _nested, max_leaves=5)
_args = tuples(_operands)
_tensor_ops = st.builds(
    TensorOp,
    target=st.builds(CallModule, _names) | st.builds(CallFunction, _names),
    args=_args,
    kwargs=tuples(st.tuples(_names, _operands), 2),
    results=tuples(_values, 2),
    mutates=tuples(st.tuples(_ids, _values), 2),
    loc=_locs,
)
_ops = (
    _tensor_ops
    | st.builds(HostOp, function=_names, args=_args, result=_values, loc=_locs)
    | st.builds(Dispatch, subgraph=_numbers.map(SubgraphId), args=_args, results=tuples(_values), loc=_locs)
)
_edges = st.builds(Edge, _numbers.map(BlockId), _args)
_ends = (
    st.builds(Jump, edge=_edges, loc=_locs)
    | st.builds(Branch, cond=_ids, if_true=_edges, if_false=_edges, loc=_locs)
    | st.builds(Return, value=_operands, resume=_numbers, state=_args, loc=_locs)
    | st.builds(Raise, class_name=_names, args=_args, resume=_numbers, state=_args, loc=_locs)
)
_blocks = st.builds(
    Block, id=_numbers.map(BlockId), params=tuples(_values), ops=tuples(_ops), end=_ends, loc=_locs
)  # fmt: skip
_programs = st.builds(
    Program,
    name=_names,
    method=_names,
    signature=tuples(
        st.builds(Param, name=_names, kind=st.sampled_from(ParamKind), spec=_operands, optional=st.booleans()), 2
    ),
    entries=tuples(
        st.builds(
            Entry,
            block=_numbers.map(BlockId),
            slots=tuples(st.builds(StateSlot, _names, _operands), 2),
            state_params=_numbers,
        ),
        2,
    ),
    initial=tuples(_operands, 2),
    blocks=tuples(_blocks, 2),
    subgraphs=tuples(
        st.builds(
            Subgraph,
            id=_numbers.map(SubgraphId),
            name=_names,
            params=tuples(_values, 2),
            ops=tuples(_tensor_ops, 2),
            results=tuples(_ids, 2),
            structure=st.integers(-1, 9),
            loc=_locs,
        ),
        2,
    ),
    tunables=tuples(
        st.builds(Tunable, _names, st.sampled_from(ScalarKind), _literals.map(lambda lit: lit.value), _locs), 2
    ),
    sources=tuples(st.builds(SourceFile, _names, _names), 2),
)


@settings(max_examples=60, deadline=None)
@given(_programs)
def test_round_trip_of_programs(program: Program) -> None:
    text = print_ir(program)
    again = parse_ir(text)
    assert again == program
    assert repr(again) == repr(program)  # 1, 1.0 and True are equal, and so are 0.0 and -0.0
    assert print_ir(again) == text


@settings(max_examples=60, deadline=None)
@given(_operands)
def test_round_trip_of_operands(operand: Operand) -> None:
    program = parse_ir(text_of(f"return {print_operand(operand)}"))
    end = program.blocks[0].end
    assert isinstance(end, Return)
    assert repr(end.value) == repr(operand)


def test_a_literal_without_a_text_is_refused() -> None:
    with pytest.raises(InternalError, match="a literal of <class 'complex'> has no text"):
        print_operand(Lit(1j))


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("program P", "line 1, column 10: expected 'method', found the end of the text"),
        ("program P method f\nentry x0\n", "line 2, column 7: expected a block, found 'x0'"),
        (text_of("return ;"), "line 5, column 10: unexpected ';'"),
        (text_of("return"), "line 5, column 9: expected an operand, found the end of the line"),
        (text_of("return foo"), "expected an operand, found 'foo'"),
        (text_of("return (1 2)"), "expected ',', found '2'"),
        (text_of("return slice(1, 2)"), "expected three operands"),
        (text_of("return 'open"), 'unexpected "\'"'),
        (text_of("%1: float = host item(%0) @f3:1:2-1:3"), "expected a file of the list, found '@f3:1:2-1:3'"),
        (text_of("%1: float = add(%0)"), "expected module, call, host, dispatch, invoke or a terminator, found 'add'"),
        (text_of("%1 float = host item(%0)"), "expected ':', found '='"),
        (text_of("%1: flat = host item(%0)"), r"expected '\[', found '='"),
        (text_of("host item(%0)"), "expected one result, found 'host'"),
        (text_of("%1: int = call torch.f(a=1, %0)"), "expected keyword arguments last"),
        (text_of("branch 3 ? b1 : b2"), "expected a value, found '3'"),
        (text_of("jump b0 b1"), "expected the end of the line, found 'b1'"),
        (text_of("return 1") + "b1:\n", "expected module, call, host, dispatch, invoke or a terminator, found the end"),
    ],
)
def test_mistakes_name_their_place(text: str, message: str) -> None:
    with pytest.raises(InternalError, match=message):
        parse_ir(text)


def test_what_is_known_of_sizes_is_read_back() -> None:
    text = """\
program M method forward
param x: positional_or_keyword = input 0: float32[5]
entry b0

b0(%0: float32[5]):
  %1: float32[u0] = call torch.masked_select(%0, %0)
  %2: int[u0] = host size(%1, 0)
  %3: float32[u0] = call torch.add(%1, %2) where u0 = 3, 'Mod(u0, 3)' = 0, u1 = 'u0 + 1'
  return %3
"""
    program = parse_ir(text)
    assert "%2: int[u0] = host size(%1, 0)" in print_ir(program)
    assert "where u0 = 3, 'Mod(u0, 3)' = 0, u1 = 'u0 + 1'" in print_ir(program)
    assert parse_ir(print_ir(program)) == program
