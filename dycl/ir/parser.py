"""Programs read from the text form that `dycl.ir.printer` writes.

A line is a statement; spaces, empty lines and `//` comments mean nothing. One method for each rule of the grammar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dycl.ir.nodes import (
    Block,
    Branch,
    CallFunction,
    CallModule,
    Dispatch,
    Edge,
    HostOp,
    Invoke,
    Jump,
    Op,
    Procedure,
    Raise,
    Reply,
    Return,
    Subgraph,
    Target,
    TensorOp,
    Terminator,
    Write,
    WriteKind,
)
from dycl.ir.program import (
    Dimension,
    Entry,
    Method,
    Param,
    ParamKind,
    Program,
    Schema,
    SchemaField,
    SchemaKind,
    SourceFile,
    StateSlot,
    Tunable,
)
from dycl.ir.reader import SCALARS, Reader
from dycl.ir.tokens import tokenize
from dycl.ir.values import Operand, ProcedureId, SubgraphId, UnionType, Value, ValueId

T = TypeVar("T")

_PARAMS = {kind.value.replace(" ", "_"): kind for kind in ParamKind}
_ENDS = ("jump", "branch", "return", "raise", "reply")
_SCHEMAS = {kind.value: kind for kind in SchemaKind}
_WRITES = {kind.value: kind for kind in WriteKind}


def parse_ir(text: str) -> Program:
    """The program of a text; `InternalError` names the line and column of a mistake."""
    return _Parser(tokenize(text)).program()


class _Parser(Reader):
    """The rules for operations, blocks and the program."""

    # ------------------------------------------------------------ operations

    def results(self) -> tuple[Value, ...]:
        values: list[Value] = []
        while self.here.kind == "value":
            values.append(self.value())
            if not self.accept(","):
                self.expect("=")
                break
        return tuple(values)

    def op(self) -> Op:
        token, results = self.here, self.results()
        if self.accept("module"):
            return self.tensor_op(CallModule(self.name()), results)
        if self.accept("call"):
            return self.tensor_op(CallFunction(self.name()), results)
        if self.accept("dispatch"):
            subgraph = SubgraphId(self.numbered("s", "a subgraph"))
            args = self.in_parens(self.operand)
            return Dispatch(subgraph=subgraph, args=args, results=results, loc=self.loc())
        if self.accept("invoke"):
            procedure = ProcedureId(self.numbered("p", "a procedure"))
            return Invoke(procedure=procedure, args=self.in_parens(self.operand), results=results, loc=self.loc())
        if not self.accept("host"):
            self.fail("module, call, host, dispatch, invoke or a terminator")
        if len(results) != 1:
            self.fail("one result", token)
        return HostOp(function=self.name(), args=self.in_parens(self.operand), result=results[0], loc=self.loc())

    def tensor_op(self, target: Target, results: tuple[Value, ...]) -> TensorOp:
        args, kwargs = self.arguments()
        mutates = [self.mutation()] if self.accept("mutates") else []
        while mutates and self.accept(","):
            mutates.append(self.mutation())
        sizes = [self.equal_sizes()] if self.accept("where") else []
        while sizes and self.accept(","):
            sizes.append(self.equal_sizes())
        return TensorOp(
            target=target,
            args=args,
            kwargs=kwargs,
            results=results,
            mutates=tuple(mutates),
            sizes=tuple(sizes),
            loc=self.loc(),
        )

    def equal_sizes(self) -> tuple[str, int | str]:
        left = self.name()
        self.expect("=")
        return left, self.dimension()

    def mutation(self) -> tuple[ValueId, Value]:
        old = self.value_id()
        self.expect("->")
        return old, self.value()

    def edge(self) -> Edge:
        target = self.block_id()
        return Edge(target, self.in_parens(self.operand) if self.at("(") else ())

    def end(self) -> Terminator:
        if self.accept("jump"):
            return Jump(edge=self.edge(), loc=self.loc())
        if self.accept("branch"):
            cond = self.value_id()
            self.expect("?")
            yes = self.edge()
            self.expect(":")
            return Branch(cond=cond, if_true=yes, if_false=self.edge(), loc=self.loc())
        if self.accept("return"):
            value, writes = self.operand(), self.writes()
            resume, state = self.resume()
            return Return(value=value, resume=resume, state=state, writes=writes, loc=self.loc())
        if self.accept("reply"):
            return Reply(values=self.in_parens(self.operand), loc=self.loc())
        self.expect("raise")
        name, args, writes = self.class_name(), self.in_parens(self.operand), self.writes()
        resume, state = self.resume()
        return Raise(class_name=name, args=args, resume=resume, state=state, writes=writes, loc=self.loc())

    def writes(self) -> tuple[Write, ...]:
        return self.in_parens(self.write) if self.accept("writes") else ()

    def write(self) -> Write:
        kind = self.one_of(_WRITES, "a kind of write")
        place: list[object] = [self.name()]
        while self.accept("["):
            place.append(self.literal().value)
            self.expect("]")
        if kind is WriteKind.REMOVE:
            return Write(kind, tuple(place))
        self.expect("=")
        return Write(kind, tuple(place), self.operand())

    def resume(self) -> tuple[int, tuple[Operand, ...]]:
        resume = self.integer() if self.accept("resume") else 0
        return resume, self.in_parens(self.operand) if self.accept("state") else ()

    # ------------------------------------------------------------ the program

    def block(self) -> Block:
        block = self.block_id()
        params = self.in_parens(self.value) if self.at("(") else ()
        self.expect(":")
        loc = self.loc()
        self.end_line()
        ops: list[Op] = []
        while self.here.text not in _ENDS:
            ops.append(self.op())
            self.end_line()
        end = self.end()
        self.end_line()
        return Block(id=block, params=params, ops=tuple(ops), end=end, loc=loc)

    def subgraph(self) -> Subgraph:
        number, name = SubgraphId(self.numbered("s", "a subgraph")), self.name()
        structure = self.integer() if self.accept("structure") else -1
        params = self.in_parens(self.value)
        self.expect(":")
        loc = self.loc()
        self.end_line()
        ops: list[TensorOp] = []
        while not self.accept("results"):
            token, op = self.here, self.op()
            ops.append(op if isinstance(op, TensorOp) else self.fail("a tensor operation", token))
            self.end_line()
        results = self.in_parens(self.value_id)
        return Subgraph(
            id=number, name=name, params=params, ops=tuple(ops), results=results, structure=structure, loc=loc
        )

    def file(self) -> None:
        name = f"f{self.numbered('f', 'a file')}"
        self.expect("=")
        self.files[name] = self.text()

    def source(self) -> SourceFile:
        path = self.text()
        self.expect("sha256")
        return SourceFile(path, self.text())

    def tunable(self) -> Tunable:
        name = self.name()
        self.expect(":")
        kind = self.one_of(SCALARS, "a scalar type")
        self.expect("=")
        return Tunable(name, kind, self.literal().value, self.loc())

    def dimension_range(self) -> Dimension:
        name = self.name()
        self.expect("from")
        low = self.integer()
        return Dimension(name, low, self.integer() if self.accept("to") else None)

    def param(self) -> Param:
        name = self.name()
        self.expect(":")
        kind = self.one_of(_PARAMS, "a kind of parameter")
        optional = self.accept("optional")
        self.expect("=")
        return Param(name=name, kind=kind, spec=self.operand(), optional=optional)

    def other_method(self) -> Method:
        name = self.name()
        self.end_line()
        return Method(name, self.statements("param", self.param))

    def entry(self) -> Entry:
        block = self.block_id()
        state = self.integer() if self.accept("state") else 0
        slots: list[StateSlot] = []
        self.end_line()
        while self.accept("slot"):
            name = self.name()
            self.expect("=")
            slots.append(StateSlot(name, self.operand()))
            self.end_line()
        return Entry(block=block, slots=tuple(slots), state_params=state)

    def procedure(self) -> Procedure:
        number, name = ProcedureId(self.numbered("p", "a procedure")), self.name()
        block, is_rest = self.block_id(), self.accept("rest")
        return Procedure(id=number, name=name, block=block, is_rest=is_rest, loc=self.loc())

    def schema(self) -> Schema:
        name, kind, class_name = self.name(), self.one_of(_SCHEMAS, "a kind of schema"), self.class_name()
        fields: list[SchemaField] = []
        self.end_line()
        while self.accept("field"):
            field = self.name()
            optional, is_written = self.accept("optional"), self.accept("written")
            self.expect(":")
            token, of = self.here, self.type()
            members = of.members if isinstance(of, UnionType) else self.fail("a union", token)
            fields.append(SchemaField(field, members, optional, is_written))
            self.end_line()
        return Schema(name, kind, class_name, tuple(fields))

    def statements(self, word: str, rule: Callable[[], T]) -> tuple[T, ...]:
        """The statements that begin with this word."""
        found: list[T] = []
        while self.accept(word):
            found.append(rule())
            if self.tokens[self.position - 1].kind != "newline":
                self.end_line()
        return tuple(found)

    def program(self) -> Program:
        while self.here.kind == "newline":
            self.position += 1
        self.expect("program")
        name = self.name()
        self.expect("method")
        method = self.name()
        self.end_line()
        self.statements("file", self.file)
        sources = self.statements("source", self.source)
        tunables = self.statements("tunable", self.tunable)
        dimensions = self.statements("dimension", self.dimension_range)
        signature = self.statements("param", self.param)
        others = self.statements("method", self.other_method)
        initial = self.statements("initial", lambda: self.in_parens(self.operand))
        schemas = self.statements("schema", self.schema)
        entries = self.statements("entry", self.entry)
        procedures = self.statements("procedure", self.procedure)
        subgraphs = self.statements("subgraph", self.subgraph)
        blocks: list[Block] = []
        while self.here.kind != "end":
            blocks.append(self.block())
        return Program(
            name=name,
            method=method,
            signature=signature,
            others=others,
            entries=entries,
            initial=initial[0] if initial else (),
            blocks=tuple(blocks),
            subgraphs=subgraphs,
            tunables=tunables,
            dimensions=dimensions,
            sources=sources,
            procedures=procedures,
            schemas=schemas,
        )
