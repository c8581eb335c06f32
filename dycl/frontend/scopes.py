"""Which variable a name means: the scopes of a statement and, per scope, its locals, cells and free names.

A list, set or dict comprehension is part of the function around it (as in PEP 709) unless a function inside it
captures one of its variables: each run then needs fresh cells, so it stays a function of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

import libcst as cst


class ScopeKind(Enum):
    """What a scope belongs to."""

    MODULE = "module"
    CLASS = "class"
    FUNCTION = "function"
    LAMBDA = "lambda"
    GENERATOR = "generator expression"
    COMPREHENSION = "comprehension"


class PlaceKind(Enum):
    """Where a variable lives."""

    LOCAL = "local"
    CELL = "cell"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name is found: a register, a cell or a global, and its name there."""

    kind: PlaceKind
    name: str


@dataclass(slots=True, eq=False)
class Scope:
    """The names of one scope; filled while the tree is read, then resolved."""

    kind: ScopeKind
    parent: Scope | None
    class_name: str = ""  # of the class around, for the mangling of names
    number: int = 0
    bound: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    declared_global: set[str] = field(default_factory=set)
    declared_nonlocal: set[str] = field(default_factory=set)
    children: list[Scope] = field(default_factory=list)
    is_generator: bool = False
    inlined: bool = False
    needed: set[str] = field(default_factory=set)  # names that a function around must provide, if one does
    cells: set[str] = field(default_factory=set)
    free: set[str] = field(default_factory=set)

    @property
    def own(self) -> set[str]:
        """The names that are variables of this scope."""
        return self.bound - self.declared_global - self.declared_nonlocal

    def mangle(self, name: str) -> str:
        """The name as the class around turns it: `__x` is `_Class__x`."""
        if not name.startswith("__") or name.endswith("__") or "." in name:
            return name
        prefix = self.class_name.lstrip("_")
        return f"_{prefix}{name}" if prefix else name

    def place(self, name: str) -> Place:
        """Where a (mangled) name lives, seen from here."""
        scope = self
        while scope.inlined:
            if name in scope.bound:
                return Place(PlaceKind.LOCAL, f"{name}%{scope.number}")
            assert scope.parent is not None
            scope = scope.parent
        if name in scope.cells or name in scope.free:
            return Place(PlaceKind.CELL, name)
        return Place(PlaceKind.LOCAL if name in scope.own else PlaceKind.GLOBAL, name)


_FUNCTIONS = (ScopeKind.FUNCTION, ScopeKind.LAMBDA, ScopeKind.GENERATOR, ScopeKind.COMPREHENSION)


def build_scopes(module: cst.Module, class_name: str) -> dict[cst.CSTNode, Scope]:
    """The scope of every function, lambda, class and comprehension; `class_name`: the class around the statement."""
    root = Scope(ScopeKind.CLASS if class_name else ScopeKind.MODULE, None, class_name)
    collector = _Collector(root)
    for statement in module.body:
        collector.visit(statement)
    _find_captures(root)
    _find_free(root, {"__class__"} if class_name else set())
    return collector.scopes


# ---------------------------------------------------------------- resolution


def _find_captures(scope: Scope) -> tuple[set[str], set[str]]:
    """(names used in the function around, names captured by functions inside), less those the scope provides."""
    direct, captured = set(scope.used | scope.declared_nonlocal), set()
    for child in scope.children:
        child_direct, child_captured = _find_captures(child)
        direct |= child_direct
        captured |= child_captured
    own = scope.own
    if scope.kind is ScopeKind.COMPREHENSION and not own & captured:
        scope.inlined = True
        return direct - own, captured
    if scope.kind in _FUNCTIONS:
        scope.cells = own & captured
    elif scope.kind is ScopeKind.CLASS:
        captured = captured - {"__class__"}
        scope.needed = (direct - own - scope.declared_global) | captured
        return set(), scope.needed
    scope.needed = (direct | captured) - own - scope.declared_global
    return set(), scope.needed


def _find_free(scope: Scope, visible: set[str]) -> None:
    if scope.kind in _FUNCTIONS and not scope.inlined:
        scope.free = scope.needed & visible
        visible = (visible - scope.declared_global) | scope.own
    elif scope.kind is ScopeKind.CLASS:
        visible = visible | {"__class__"}
    for child in scope.children:
        _find_free(child, visible)


# ---------------------------------------------------------------- collection

_LAYOUT = ("lpar", "rpar", "comma", "semicolon", "header", "footer", "indent", "colon", "dot", "operator", "equal")
_fields: dict[type[cst.CSTNode], tuple[str, ...]] = {}


def children(node: cst.CSTNode) -> Iterable[cst.CSTNode]:
    """The nodes directly below that carry meaning: no whitespace, no punctuation."""
    names = _fields.get(type(node))
    if names is None:
        names = _fields[type(node)] = tuple(
            f.name
            for f in dataclasses.fields(node)
            if f.name not in _LAYOUT and not f.name.startswith(("whitespace", "leading", "lines_after"))
        )
    for name in names:
        value = getattr(node, name)
        if isinstance(value, cst.CSTNode):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from (item for item in value if isinstance(item, cst.CSTNode))


class _Collector:
    """Reads a tree and enters every name into its scope."""

    def __init__(self, root: Scope) -> None:
        self.scope = root
        self.scopes: dict[cst.CSTNode, Scope] = {}
        self.count = 0
        self.handlers: dict[type[cst.CSTNode], Callable[..., None]] = {
            cst.Name: self.name,
            cst.Attribute: lambda n: self.visit(n.value),
            cst.Arg: lambda n: self.visit(n.value),
            cst.Annotation: lambda n: None,
            cst.Assign: self.assign,
            cst.AnnAssign: self.annotated_assign,
            cst.AugAssign: self.augmented_assign,
            cst.NamedExpr: self.walrus,
            cst.Del: lambda n: self.bind(n.target),
            cst.For: self.for_loop,
            cst.AsName: lambda n: self.bind(n.name),
            cst.ImportAlias: self.import_alias,
            cst.ImportFrom: lambda n: None if isinstance(n.names, cst.ImportStar) else self.visit_all(n.names),
            cst.Global: lambda n: self.scope.declared_global.update(map(self.mangled, n.names)),
            cst.Nonlocal: lambda n: self.scope.declared_nonlocal.update(map(self.mangled, n.names)),
            cst.MatchAs: self.match_as,
            cst.MatchStar: self.match_as,
            cst.MatchMapping: self.match_mapping,
            cst.MatchKeywordElement: lambda n: self.visit(n.pattern),
            cst.Yield: self.yielding,
            cst.FunctionDef: self.function,
            cst.Lambda: self.function,
            cst.ClassDef: self.class_definition,
            cst.ListComp: self.comprehension,
            cst.SetComp: self.comprehension,
            cst.DictComp: self.comprehension,
            cst.GeneratorExp: self.comprehension,
        }

    def visit(self, node: cst.CSTNode | None) -> None:
        if node is None:
            return
        handler = self.handlers.get(type(node))
        if handler is not None:
            handler(node)
        else:
            self.visit_all(children(node))

    def visit_all(self, nodes: Iterable[cst.CSTNode]) -> None:
        for node in nodes:
            self.visit(node)

    def mangled(self, item: cst.NameItem) -> str:
        return self.scope.mangle(item.name.value)

    def name(self, node: cst.Name) -> None:
        self.scope.used.add(self.scope.mangle(node.value))
        if node.value == "super" and self.scope.kind in _FUNCTIONS:
            self.scope.used.add("__class__")

    def bind(self, target: cst.CSTNode) -> None:
        match target:
            case cst.Name(value=name):
                self.scope.bound.add(self.scope.mangle(name))
            case cst.Tuple(elements=elements) | cst.List(elements=elements):
                for element in elements:
                    self.bind(element.value)
            case _:
                self.visit(target)

    def assign(self, node: cst.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.bind(target.target)

    def annotated_assign(self, node: cst.AnnAssign) -> None:
        self.visit(node.value)
        self.bind(node.target)

    def augmented_assign(self, node: cst.AugAssign) -> None:
        self.visit(node.value)
        self.bind(node.target)

    def walrus(self, node: cst.NamedExpr) -> None:
        self.visit(node.value)
        name = self.scope.mangle(cst.ensure_type(node.target, cst.Name).value)
        home = self.scope
        while home.kind in (ScopeKind.COMPREHENSION, ScopeKind.GENERATOR) and home.parent is not None:
            home.used.add(name)
            home = home.parent
        if name not in home.declared_nonlocal:
            home.bound.add(name)

    def for_loop(self, node: cst.For) -> None:
        self.visit(node.iter)
        self.bind(node.target)
        self.visit(node.body)
        self.visit(node.orelse)

    def import_alias(self, node: cst.ImportAlias) -> None:
        if node.asname is not None:
            self.bind(node.asname.name)
        else:
            self.scope.bound.add(self.scope.mangle(node.evaluated_name.split(".")[0]))

    def match_as(self, node: cst.MatchAs | cst.MatchStar) -> None:
        if node.name is not None:
            self.bind(node.name)
        if isinstance(node, cst.MatchAs):
            self.visit(node.pattern)

    def match_mapping(self, node: cst.MatchMapping) -> None:
        self.visit_all(node.elements)
        if node.rest is not None:
            self.bind(node.rest)

    def yielding(self, node: cst.Yield) -> None:
        self.scope.is_generator = True
        self.visit_all(children(node))

    def enter(self, node: cst.CSTNode, kind: ScopeKind, class_name: str | None = None) -> Scope:
        self.count += 1
        scope = Scope(kind, self.scope, self.scope.class_name if class_name is None else class_name, self.count)
        self.scope.children.append(scope)
        self.scope = self.scopes[node] = scope
        return scope

    def leave(self) -> None:
        assert self.scope.parent is not None
        self.scope = self.scope.parent

    def function(self, node: cst.FunctionDef | cst.Lambda) -> None:
        if isinstance(node, cst.FunctionDef):
            self.bind(node.name)
            self.visit_all(node.decorators)
        parameters = all_parameters(node.params)
        self.visit_all(p.default for p in parameters if p.default is not None)
        self.enter(node, ScopeKind.LAMBDA if isinstance(node, cst.Lambda) else ScopeKind.FUNCTION)
        self.scope.bound.update(self.scope.mangle(p.name.value) for p in parameters)
        self.visit(node.body)
        self.leave()

    def class_definition(self, node: cst.ClassDef) -> None:
        self.bind(node.name)
        for part in (node.decorators, node.bases, node.keywords):
            self.visit_all(part)
        self.enter(node, ScopeKind.CLASS, node.name.value)
        self.visit(node.body)
        self.leave()

    def comprehension(self, node: cst.ListComp | cst.SetComp | cst.DictComp | cst.GeneratorExp) -> None:
        self.visit(node.for_in.iter)
        self.enter(
            node, ScopeKind.GENERATOR if isinstance(node, cst.GeneratorExp) else ScopeKind.COMPREHENSION
        ).is_generator = isinstance(node, cst.GeneratorExp)
        loop: cst.CompFor | None = node.for_in
        while loop is not None:
            if loop is not node.for_in:
                self.visit(loop.iter)
            self.bind(loop.target)
            self.visit_all(loop.ifs)
            loop = loop.inner_for_in
        for part in (node.key, node.value) if isinstance(node, cst.DictComp) else (node.elt,):
            self.visit(part)
        self.leave()


def all_parameters(parameters: cst.Parameters) -> list[cst.Param]:
    """Every parameter with a name, in the order of a call's binding."""
    star = [parameters.star_arg] if isinstance(parameters.star_arg, cst.Param) else []
    last = [parameters.star_kwarg] if parameters.star_kwarg is not None else []
    return [*parameters.posonly_params, *parameters.params, *star, *parameters.kwonly_params, *last]
