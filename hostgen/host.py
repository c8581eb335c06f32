"""A partitioned program as the text of a Python module: the host that runs the subgraphs as the source would.

Before: blocks of host operations and dispatches. After: one class with the compiled methods, `if` and `while` in place
of blocks, the source's names, and the source line beside each decision.
"""

from __future__ import annotations

import io
import re
import tokenize
from dataclasses import replace
from pathlib import Path

from dycl.diagnostics import InternalError
from dycl.hostgen import support
from dycl.hostgen.annotations import annotation, method_parameters, return_annotation, summary
from dycl.hostgen.classes import all_operands, find_records, name_classes, write_classes
from dycl.hostgen.decisions import find_deciding
from dycl.hostgen.expressions import Expressions, literal, quoted, sequence
from dycl.hostgen.inlining import find_inlining
from dycl.hostgen.leaves import copy_leaves
from dycl.hostgen.lines import Line, Lines, location_comment, source_text, write_lines
from dycl.hostgen.liveness import find_overlaps, find_owned_lists
from dycl.hostgen.names import OWN, choose_names, identifier, unique
from dycl.hostgen.parts import IMPORTED, OUR_NAMES, PARTS
from dycl.hostgen.signature import filled_leaves, parameter, schema_text, states
from dycl.hostgen.statements import MethodText, is_stateful
from dycl.hostgen.structure import build_structure
from dycl.hostgen.writer import WIDTH, PythonWriter
from dycl.ir.dataflow import value_types
from dycl.ir.hosteffects import DRAWS
from dycl.ir.nodes import Branch, HostOp, Procedure, Subgraph, TensorOp
from dycl.ir.program import Entry, Program
from dycl.ir.values import BlockId, ProcedureId, RecordKind, Ref, SeqKind, ValueId, Weight
from dycl.ir.writes import all_writes, written_names

# What the class inherits and what is written into it: no attribute of the model's may hide it.
_HOST_ATTRIBUTES = frozenset({*dir(support.Host), *vars(support.Host()), "random", "runtime", "seed"})
_REPLACEABLE = frozenset({"reset"})  # what the model's own method of this name stands for in a host


def write_host(program: Program, *, source_hash: str, version: str, device: str = "cpu") -> str:
    """The text of `host.py` for the artifact; `device`: where its subgraphs run, unless who loads it says otherwise."""
    if any(isinstance(op, TensorOp) for block in program.blocks for op in block.ops):
        raise InternalError("host generator: the program is not partitioned")
    return _HostModule(program, source_hash, version, device).text()


def class_name(program: Program) -> str:
    """The name of the host's class: the program's, as a class is named."""
    name = program.name
    if not name.isidentifier():
        name = "".join(part[:1].upper() + part[1:] for part in re.split(r"\W+", name, flags=re.ASCII) if part)
    return identifier(name, "Model")


class _HostModule:
    """Everything that is chosen once for the module, and the order in which it is written."""

    def __init__(self, program: Program, source_hash: str, version: str, device: str) -> None:
        self._device = device
        self._source = program  # what the method takes and returns, in the program's own terms
        self._program = program = copy_leaves(program)
        self._header = (source_hash, version)
        self._class = class_name(program)
        taken = {
            self._class,
            *OWN,
            *OUR_NAMES,
            "dataclass",
        }
        self._classes = name_classes(program, taken)
        self._types = value_types(program)
        self._tunables = {tunable.name: identifier(tunable.name.replace(".", "_")) for tunable in program.tunables}
        self._subgraphs: dict[str, tuple[str, Subgraph]] = {}
        self._weights: dict[str, str] = {}
        self._name_attributes()
        self._method = self._prepare_method()
        self._bodies = [self._body_of(index) for index in range(len(program.methods))]
        self._procedures = [(part, self._method_of(part)) for part in program.procedures]

    def _name_attributes(self) -> None:
        taken = {*_HOST_ATTRIBUTES, *self._tunables.values()} - _REPLACEABLE
        self._methods: list[str] = []
        for method in self._program.methods:
            self._methods.append(unique(method.name, taken))
            taken.add(self._methods[-1])
        taken |= _REPLACEABLE
        for subgraph in self._program.subgraphs:
            base = identifier(re.sub(r"^\d+_+", "", subgraph.name) or "subgraph", "subgraph")
            attribute = unique(f"_{base.rstrip('_')}", taken)
            taken.add(attribute)
            self._subgraphs[attribute] = (subgraph.name, subgraph)
        self._procedure_names: dict[ProcedureId, str] = {}
        for procedure in self._program.procedures:
            attribute = unique(f"_{identifier(procedure.name).rstrip('_')}", taken)
            taken.add(attribute)
            self._procedure_names[procedure.id] = attribute
        for operand in all_operands(self._program):
            if isinstance(operand, Weight) and operand.name not in self._weights:
                attribute = unique(f"_{identifier(operand.name.replace('.', '_')).rstrip('_')}", taken)
                taken.add(attribute)
                self._weights[operand.name] = attribute

    def _prepare_method(self) -> MethodText:
        program = self._program
        inlining = find_inlining(program)
        overlaps = find_overlaps(program, inlining)
        owned = find_owned_lists(program, overlaps)
        params = {param.name for method in program.methods for param in method.signature}
        written = sorted({str(write.place[0]) for write in all_writes(program)})
        given = {name: unique(f"given_{name}", params) for name in written}
        taken = {self._class, *self._classes.values(), *given.values()}
        names = choose_names(program, inlining, overlaps, _appends(program, owned), taken)
        expressions = Expressions(names, inlining, self._types, self._weights, self._classes, self._tunables)
        decide = unique("decide", params)
        ids = {subgraph.id: attribute for attribute, (_, subgraph) in self._subgraphs.items()}
        return MethodText(
            program,
            expressions,
            owned,
            overlaps.used,
            ids,
            self._procedure_names,
            decide,
            find_deciding(program),
            given,
        )

    def _body_of(self, index: int) -> Lines:
        """The lines of a method."""
        alone = _only(self._program, index)
        method = alone.method if index else ""
        text = replace(self._method, program=alone, method=method, deciding=find_deciding(alone), annotated=set())
        return text.lines(build_structure(alone, self._bare_blocks()))

    def _method_of(self, procedure: Procedure) -> Lines:
        """The lines of a procedure: a program of its own, but for the names."""
        alone = replace(self._program, others=(), entries=(Entry(block=procedure.block),), procedures=())
        text = replace(self._method, is_procedure=True, annotated=set())
        return text.lines(build_structure(alone, self._bare_blocks()))

    def _bare_blocks(self) -> frozenset[BlockId]:
        return frozenset(block.id for block in self._program.blocks if self._method.is_bare(block.id))

    # ------------------------------------------------------------ text

    def text(self) -> str:
        """The whole module."""
        body = PythonWriter()
        write_classes(body, self._program, self._classes)
        body.blank(2)
        self._write_class(body)
        written = body.text()
        head = PythonWriter()
        self._write_docstring(head)
        self._write_imports(head, written)
        return head.text() + written

    def _write_docstring(self, out: PythonWriter) -> None:
        source_hash, version = self._header
        origin = Path(self._program.sources[0].path).name if self._program.sources else "a program"
        out.line(f'"""{self._class} compiled by dycl {version} from {origin} (sha256 {source_hash[:12]}…).')
        out.blank()
        out.line("Generated: compile again instead of editing.")
        out.line('"""')

    def _write_imports(self, out: PythonWriter, body: str) -> None:
        """Import what the text uses."""
        words = set(re.findall(r"\w+", _code_only(body)))
        kinds = {record.kind for records in find_records(self._program).values() for record in records}
        out.blank()
        out.line("from __future__ import annotations")
        out.blank()
        if "math" in words:
            out.line("import math")
        if "operator" in words:
            out.line("import operator")
        if re.search(r"\bos \. environ\b", _code_only(body)):
            out.line("import os")
        if re.search(r"\btime \. \w+ \( \)", _code_only(body)):
            out.line("import time")
        if RecordKind.DATACLASS in kinds:
            out.line("from dataclasses import dataclass")
        out.line("from pathlib import Path")
        typing = [name for name in ("Any", "NamedTuple", "NoReturn") if name in words]
        if typing:
            out.line(f"from typing import {', '.join(typing)}")
        out.blank()
        if "np" in words:
            out.line("import numpy as np")
            out.blank()
        for module in sorted(PARTS):
            if module in words:
                out.line(f"from . import {module}")
        for module, known in IMPORTED.items():
            if given := sorted(known & words, key=_import_order):
                out.line(f"from .{module} import {', '.join(given)}")

    def _write_class(self, out: PythonWriter) -> None:
        with out.block(f"class {self._class}(Host):"):
            self._write_summary(out)
            if self._program.tunables:
                out.blank()
            for tunable in self._program.tunables:
                comment = ", ".join(part for part in ("tunable", location_comment(tunable.loc)) if part)
                name, value = self._tunables[tunable.name], literal(tunable.default)[0]
                out.line(f"{name}: {tunable.kind.value} = {value}", comment)
            out.blank()
            self._write_init(out)
            if self._draws():
                out.blank()
                self._write_seed(out)
            out.blank()
            for index in range(len(self._methods)):
                self._write_method(out, index)
                out.blank()
            for procedure, lines in self._procedures:
                self._write_procedure(out, procedure, lines)
                out.blank()
            self._write_tables(out)

    def _write_summary(self, out: PythonWriter) -> None:
        text = summary(_only(self._source, 0), value_types(self._source)).replace("\\", "/").replace('"', "'")
        if len(text) > WIDTH - 12:
            text = f"{text[: WIDTH - 13]}…"
        out.line(f'"""{text}"""')

    def _write_init(self, out: PythonWriter) -> None:
        parameters, arguments = "threads: int | None = None, lazy: bool = False", "threads=threads, lazy=lazy"
        if self._device != "cpu":
            parameters += f", device: str = {quoted(self._device)}"
            arguments += ", device=device"
        with out.block(f"def __init__(self, *, {parameters}) -> None:"):
            name = "runtime = self.runtime" if self._subgraphs or self._weights else "self.runtime"
            out.line(f"{name} = Runtime(Path(__file__).parent, {arguments})")
            for attribute, (name, subgraph) in self._subgraphs.items():
                kind = "ToArray" if len(subgraph.results) == 1 else "ToArrays"
                out.line(f"self.{attribute}: {kind} = runtime.subgraph({quoted(name)})")
            for name, attribute in self._weights.items():
                out.line(f"self.{attribute}: np.ndarray = runtime.weight({quoted(name)})")
            initial = [self._method.expressions.text(operand) for operand in self._program.initial]
            if self._draws():
                out.line("self.random = randomness.Streams()")
            state = sequence(SeqKind.TUPLE, initial) if initial else ""
            out.line(f"super().__init__({state})")

    def _draws(self) -> bool:
        """Whether the host draws random numbers."""
        ops = (op for block in self._program.blocks for op in block.ops)
        return any(isinstance(op, HostOp) and op.function.startswith(DRAWS) for op in ops)

    def _write_seed(self, out: PythonWriter) -> None:
        with out.block("def seed(self, seed: int) -> None:"):
            out.line('"""Begin the random numbers anew, as torch.manual_seed, random.seed and numpy.random.seed do."""')
            out.line("self.random.seed(seed)")

    def _write_method(self, out: PythonWriter, index: int) -> None:
        program, source, name = _only(self._program, index), _only(self._source, index), self._methods[index]
        returned = return_annotation(source, value_types(source), self._classes)
        with out.block(f"def {name}({method_parameters(program)}) -> {returned}:"):
            if index:
                out.line(f'"""Run {literal(source.method)[0]} of the model, on the state that its calls share."""')
            else:
                out.line(f'"""Run the model; see `{self._class}` for the types."""')
            for param in written_names(source, source.method):
                out.line(f"{self._method.given[param]} = {param}")
            write_lines(out, self._bodies[index])

    def _write_procedure(self, out: PythonWriter, procedure: Procedure, lines: Lines) -> None:
        names = self._method.expressions.names
        params = ["self"]
        if procedure.id in self._method.deciding:
            params.append(f"{self._method.decide}: Decide")
        for index, param in enumerate(self._program.block(procedure.block).params):
            name = names[param.id] if param.id in self._method.used else f"_unused{index}"
            params.append(f"{name}: {annotation(param.type)}")
        with out.block(f"def {self._procedure_names[procedure.id]}({', '.join(params)}) -> Any:", str(procedure.loc)):
            write_lines(out, lines or [Line("pass")])

    def _write_tables(self, out: PythonWriter) -> None:
        program = self._program
        if self._methods[0] != "forward":
            out.line(f"METHOD = {literal(self._methods[0])[0]}")
        self._write_table(out, "SIGNATURE", [parameter(param, self._classes) for param in program.signature])
        if program.others:
            with out.block("METHODS = {"):
                for method, name in zip(program.others, self._methods[1:], strict=True):
                    params = sequence(SeqKind.TUPLE, [parameter(param, self._classes) for param in method.signature])
                    out.line(f"{quoted(method.name)}: ({quoted(name)}, {params}),")
            out.line("}")
        if self._method.given:
            rows = [
                f"{quoted(method.name if index else '')}: {filled_leaves(_only(program, index))}"
                for index, method in enumerate(program.methods)
            ]
            out.line(f"WRITTEN = {{{', '.join(rows)}}}")
        if program.dimensions:
            rows = [f"({quoted(d.name)}, {d.low}, {d.high})" for d in program.dimensions]
            self._write_table(out, "DIMENSIONS", rows)
        if program.schemas:
            with out.block("SCHEMAS = {"):
                for schema in program.schemas:
                    out.line(f"{quoted(schema.name)}: {schema_text(schema)},")
            out.line("}")
        sites = _sites(program)
        if sites:
            self._write_table(out, "SITES", sites)
        if is_stateful(program) or any(entry.slots for entry in program.entries):
            slots = [states(program, entry, self._classes) for entry in _only(program, 0).entries]
            rows = [f"({', '.join(row)}{',' if len(row) == 1 else ''})" for row in slots]
            self._write_table(out, "STATES", rows)

    def _write_table(self, out: PythonWriter, name: str, rows: list[str]) -> None:
        if not rows:
            out.line(f"{name} = ()")
            return
        with out.block(f"{name} = ("):
            for row in rows:
                out.line(f"{row},")
        out.line(")")


def _only(program: Program, index: int) -> Program:
    """The program as if it had one method: an entry for each kind of state."""
    method, count = program.methods[index], len(program.methods)
    own = program.entries[index::count]
    return replace(program, method=method.name, signature=method.signature, others=(), entries=own)


def _sites(program: Program) -> list[str]:
    """The decisions of the source: in which blocks each is taken, its place and its line."""
    found: dict[tuple[str, str], list[int]] = {}
    for block in program.blocks:
        if isinstance(block.end, Branch):
            loc = block.end.loc
            found.setdefault((literal(str(loc))[0], literal(source_text(loc))[0]), []).append(block.id)
    return [f"({tuple(blocks)}, {place}, {text})" for (place, text), blocks in found.items()]


def _appends(program: Program, owned: frozenset[ValueId]) -> list[tuple[ValueId, ValueId]]:
    """Lists before and after an append, where it may be done in place."""
    found = []
    for block in program.blocks:
        for op in block.ops:
            if isinstance(op, HostOp) and op.function == "list_append":
                first = op.args[0]
                if isinstance(first, Ref) and first.id in owned:
                    found.append((op.result.id, first.id))
            if isinstance(op, HostOp) and op.function == "narrow" and isinstance(op.args[0], Ref):
                found.append((op.result.id, op.args[0].id))
    return found


def _code_only(text: str) -> str:
    """The text without its strings and comments."""
    kept = [
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in (tokenize.STRING, tokenize.COMMENT)
    ]
    return " ".join(kept)


def _import_order(name: str) -> tuple[bool, str]:
    """Constants first, as isort has it."""
    return not name.isupper(), name
