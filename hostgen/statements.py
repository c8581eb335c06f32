"""The body of the compiled method: structured statements with the work of their blocks, as lines of Python."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import assert_never

from dycl.diagnostics import InternalError
from dycl.hostgen.annotations import annotation
from dycl.hostgen.arrays import item_assignment
from dycl.hostgen.expressions import Expressions, literal, quoted, sequence
from dycl.hostgen.inlining import may_raise
from dycl.hostgen.lines import Clause, Compound, Line, Lines, location_comment, source_text
from dycl.hostgen.recursion import Call, run
from dycl.hostgen.shape import (
    Body,
    Break,
    Continue,
    Decision,
    Enter,
    If,
    IfGoto,
    Leave,
    SetGoto,
    While,
    Work,
)
from dycl.ir.dataflow import op_uses
from dycl.ir.graph import ROOT
from dycl.ir.nodes import Branch, Dispatch, HostOp, Invoke, Raise, Reply, Return, Write, WriteKind, edges
from dycl.ir.program import Program
from dycl.ir.values import (
    BlockId,
    ListType,
    Lit,
    Operand,
    ProcedureId,
    Ref,
    Seq,
    SeqKind,
    SubgraphId,
    Value,
    ValueId,
    refs,
)


@dataclass(slots=True)
class MethodText:
    """Writes statements; every name was chosen before."""

    program: Program
    expressions: Expressions
    owned: frozenset[ValueId]
    used: frozenset[ValueId]
    subgraphs: dict[SubgraphId, str]
    procedures: dict[ProcedureId, str]
    decide: str
    deciding: frozenset[ProcedureId | None]  # the procedures, and None for the method, that need what records decisions
    given: dict[str, str]  # by parameters that the caller sees written: the names of what was passed
    method: str = ""  # of several: which one it is; empty for the model's own call
    is_procedure: bool = False
    annotated: set[str] = field(default_factory=set)

    def lines(self, body: Body) -> Lines:
        """The lines of a body."""
        out: Lines = []
        run(self._write(body, out))
        return out

    def is_bare(self, block: BlockId) -> bool:
        """Whether a block has no statements of its own before it ends."""
        return not self._work(block)

    # ------------------------------------------------------------ structure

    def _write(self, body: Body, out: Lines) -> Call[None]:
        for item in body:
            match item:
                case Work(block=block):
                    out += self._work(block)
                case Enter(block=block, edge=edge):
                    out += self._enter_program(edge) if block == ROOT else self._copies(block, edge)
                case Leave(block=block):
                    out += self._leave(block)
                case SetGoto(target=target, needed=needed):
                    out += [Line(f"goto = {target}")] if needed else []
                case Break():
                    out.append(Line("break"))
                case Continue():
                    out.append(Line("continue"))
                case If():
                    yield self._write_if(item, out)
                case IfGoto(target=target, then=then, needed=needed):
                    inner: Lines = [] if needed else out
                    yield self._write(then, inner)
                    if needed and inner:
                        out.append(Compound([Clause("if", f"goto == {target}", False, "", inner)]))
                case While(body=inside, once=once):
                    yield self._write_while(inside, once, out)
                case _:
                    assert_never(item)

    def _write_if(self, item: If, out: Lines) -> Call[None]:
        then: Lines = []
        orelse: Lines = []
        yield self._write(item.then, then)
        yield self._write(item.orelse, orelse)
        condition, comment = self._condition(item.decision)
        negate = item.negate
        if not then:
            then, orelse, negate = orelse, then, not negate
        if not then:
            out += [Line(condition, comment)] if item.decision.block != ROOT else []
            return
        clauses = [Clause("if", condition, negate, comment, then)]
        match orelse:
            case [Compound(clauses=[Clause(keyword="if") as first, *rest])]:
                clauses += [replace(first, keyword="elif"), *rest]
            case [_, *_]:
                clauses.append(Clause("else", "", False, "", orelse))
        out.append(Compound(clauses))

    def _write_while(self, body: Body, once: bool, out: Lines) -> Call[None]:
        lines: Lines = []
        yield self._write(body, lines)
        clause = Clause("while", "True", False, "once: left by break" if once else "", lines)
        match lines:
            case [Compound(clauses=[Clause(keyword="if", lines=[Line(text="break")]) as test]), *rest] if not once:
                clause = replace(test, keyword="while", negate=not test.negate, lines=rest or [Line("pass")])
        if not once and len(lines) > 1 and lines[-1] == Line("continue"):
            clause.lines.pop()
            clause.lines += [] if clause.lines else [Line("pass")]
        out.append(Compound([clause]))

    def _condition(self, decision: Decision) -> tuple[str, str]:
        if decision.block == ROOT:
            return f"self._resume == {decision.entry}", ""
        end = self.program.block(decision.block).end
        assert isinstance(end, Branch)
        comment = "  ".join(part for part in (str(end.loc) if end.loc.line else "", source_text(end.loc)) if part)
        return f"{self.decide}({decision.block}, {self.expressions.value(end.cond)})", comment

    # ------------------------------------------------------------ blocks

    def _work(self, block: BlockId) -> list[Line]:
        found = []
        for op in self.expressions.inlining.statements(self.program.block(block)):
            if isinstance(op, HostOp):
                text = self._host_statement(op)
            elif isinstance(op, Dispatch):
                text = self._dispatch(op)
            elif isinstance(op, Invoke):
                text = self._invoke(op)
            else:
                raise InternalError("host generator: the program is not partitioned")
            found += [Line(text, location_comment(op.loc))] if text else []
        return found

    def _host_statement(self, op: HostOp) -> str:
        result = op.result.id
        name = self.expressions.names[result]
        if op.function == "set_attr":
            return self.expressions.operation(op)
        if op.function == "narrow" and self.expressions.operation(op) == name:
            return ""
        if result not in self.used and not self._text_may_raise(op):
            return ""
        if op.function == "np.setitem":
            return item_assignment(op, self.expressions.text)
        if op.function == "list_append" and isinstance(op.args[0], Ref):
            old = op.args[0].id
            if old in self.owned and self.expressions.names[old] == name:
                return f"{name}.append({self.expressions.text(op.args[1])})"
        return f"{name} = {self.expressions.operation(op)}"

    def _text_may_raise(self, op: HostOp) -> bool:
        """Whether the operation can raise, or one that is written inside it."""
        inlining = self.expressions.inlining
        inside = (inlining.operations[value] for value in inlining.evaluated(op_uses(op)))
        return any(may_raise(part, self.expressions.types) for part in (op, *inside))

    def _dispatch(self, op: Dispatch) -> str:
        return self._call(f"self.{self.subgraphs[op.subgraph]}({self.expressions.arguments(op.args)})", op.results)

    def _invoke(self, op: Invoke) -> str:
        first = f"{self.decide}, " if op.procedure in self.deciding else ""
        name = self.procedures[op.procedure]
        return self._call(f"self.{name}({first}{self.expressions.arguments(op.args)})", op.results)

    def _call(self, text: str, results: tuple[Value, ...]) -> str:
        targets = ", ".join(self._targets(results))
        return f"{targets} = {text}" if targets else text

    def _copies(self, block: BlockId, edge: int) -> list[Line]:
        """What an edge assigns, all at once where the order would matter."""
        way = edges(self.program.block(block).end)[edge]
        params = self.program.block(way.target).params
        pending: dict[str, Operand] = {}
        for param, arg in zip(params, way.args, strict=True):
            if param.id in self.used and self._name(arg) != self.expressions.names[param.id]:
                pending[self.expressions.names[param.id]] = arg
        types = {self.expressions.names[param.id]: param for param in params}
        reads = {name: self._names_read(arg) for name, arg in pending.items()}
        found: list[Line] = []
        while pending:
            free = next((n for n in pending if not any(n in reads[o] for o in pending if o != n)), None)
            if free is None:
                targets = list(pending)
                values = ", ".join(self.expressions.text(pending[name]) for name in targets)
                return [*found, Line(f"{', '.join(targets)} = {values}")]
            found.append(Line(self._assign(types[free], pending.pop(free))))
        return found

    def _name(self, operand: Operand) -> str:
        if isinstance(operand, Ref) and operand.id not in self.expressions.inlining.operations:
            return self.expressions.names[operand.id]
        return ""

    def _names_read(self, operand: Operand) -> set[str]:
        return {self.expressions.names[v] for v in self.expressions.inlining.leaves(refs(operand))}

    def _assign(self, param: Value, operand: Operand) -> str:
        name = self.expressions.names[param.id]
        hint = ""
        if isinstance(operand, Seq) and isinstance(param.type, ListType) and not operand.items:
            hint = "" if name in self.annotated else f": {annotation(param.type)}"
            self.annotated.add(name)
        return f"{name}{hint} = {self.expressions.text(operand)}"

    # ------------------------------------------------------------ the ends of a call

    def _enter_program(self, index: int) -> list[Line]:
        if self.is_procedure:
            return []
        entry = self.program.entries[index]
        params = self.program.block(entry.block).params
        count = len(params) - entry.state_params
        arguments = ", ".join(param.name for param in self.program.signature)
        if self.method:
            arguments = ", ".join([*([arguments] if arguments else []), f"of={quoted(self.method)}"])
        lines = [self._begin(params[:count], f"self._begin({arguments})")]
        if state := self._targets(params[count:]):
            lines.append(f"{', '.join(state)} = self._state" if len(state) > 1 else f"({state[0]},) = self._state")
        return list(map(Line, lines))

    def _begin(self, params: tuple[Value, ...], call: str) -> str:
        """What every call starts with: its arguments are checked, and what records its decisions is ready."""
        decide = self.decide if None in self.deciding else "_"
        targets = self._targets(params)
        if targets:
            return f"{decide}, {', '.join(targets)} = {call}"
        return f"{decide}, *_ = {call}" if None in self.deciding else call

    def _targets(self, params: tuple[Value, ...]) -> list[str]:
        """The names of these values, if any of them is used."""
        if not any(param.id in self.used for param in params):
            return []
        return [self.expressions.names[param.id] for param in params]

    def _leave(self, block: BlockId) -> list[Line]:
        end = self.program.block(block).end
        if isinstance(end, Reply):
            text = self.expressions.arguments(end.values)
            return [Line(f"return {text}" if text else "return", location_comment(end.loc))]
        assert isinstance(end, (Return, Raise))
        lines = [self._write_given(write) for write in end.writes]
        if is_stateful(self.program):
            state = sequence(SeqKind.TUPLE, [self.expressions.text(item) for item in end.state])
            lines.append(Line(f"self._commit({end.resume}, {state})"))
        comment = location_comment(end.loc)
        if isinstance(end, Raise):
            arguments = self.expressions.arguments(end.args)
            name = self.expressions.classes[end.class_name]
            return [*lines, Line(f"raise {name}({arguments})" if arguments else f"raise {name}", comment)]
        return [*lines, Line(self._returned(end.value), comment)]

    def _write_given(self, write: Write) -> Line:
        """A change of what the caller has passed."""
        name, *steps = write.place
        target = self.given[str(name)] + "".join(f"[{literal(step)[0]}]" for step in steps)
        value = self.expressions.text(write.value)
        match write.kind:
            case WriteKind.SET:
                return Line(f"{target} = {value}")
            case WriteKind.REMOVE:
                return Line(f"del {target}")
            case WriteKind.APPEND:
                return Line(f"{target}.append({value})")
            case WriteKind.TRUNCATE:
                return Line(f"del {target}[{value}:]")
            case WriteKind.REPLACE:
                return Line(f"{target}[:] = {value}")
            case WriteKind.FILL:
                return Line(f"{target}[...] = {value}")
            case _:
                assert_never(write.kind)

    def _returned(self, value: Operand) -> str:
        if isinstance(value, Seq) and value.kind in (SeqKind.TUPLE, SeqKind.SIZE) and len(value.items) > 1:
            return f"return {self.expressions.arguments(value.items)}"
        if value == Lit(None):
            return "return None"
        return f"return {self.expressions.text(value)}"


def is_stateful(program: Program) -> bool:
    """Whether a call leaves anything for the next."""
    return len(program.entries) > 1 or any(entry.state_params for entry in program.entries)
