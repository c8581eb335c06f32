"""The statements of random functions."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.fuzz import networks
from tests.fuzz.kinds import Kind
from tests.fuzz.scope import Expressions, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

_TARGET = re.compile(r"<(\w+)=>")

SIMPLE = (Kind.ROW, Kind.ROW, Kind.ROW, Kind.INT, Kind.INT, Kind.FLOAT, Kind.FLOAT, Kind.BOOL, Kind.SCALAR)
BY_FEATURE: tuple[tuple[str, Kind], ...] = (
    ("masks", Kind.MASK),
    ("tokens", Kind.TOKENS),
    ("sizes", Kind.VECTOR),
    ("inplace", Kind.VIEW),
    ("text", Kind.TEXT),
    ("ints", Kind.INTS),
    ("floats", Kind.FLOATS),
    ("rows", Kind.ROWS),
    ("tables", Kind.TABLE),
    ("tables", Kind.ROWTABLE),
    ("tuples", Kind.PAIR),
    ("tuples", Kind.POINT),
    ("objects", Kind.RECORD),
    ("nones", Kind.MAYBE),
    ("dtypes", Kind.DOUBLE),
    ("counters", Kind.WHOLE),
    ("counters", Kind.SLOTS),
    ("batches", Kind.BATCH),
    ("beams", Kind.BEAMS),
    ("owns", Kind.OWNS),
    ("queues", Kind.QUEUE),
    ("functions", Kind.FUNC),
    ("nested", Kind.GROUPS),
    ("nested", Kind.COUNTS),
    ("words", Kind.WORDS),
    ("mixed", Kind.MIXED),
    ("meters", Kind.METER),
)

# One line each: feature, template; `<kind=>` is a variable that the statement binds or changes.
ACTIONS: tuple[tuple[str, str], ...] = (
    ("basic", "<int=> += <pos>"),
    ("basic", "<float=> += <float>"),
    ("basic", "<row=> = <row> * <factor>"),
    ("basic", "<row=> = <row> + <row>"),
    ("numbers", "<int=> -= <int>"),
    ("numbers", "<int=> = <int!> * 3 % 5"),
    ("numbers", "<float=> *= <factor>"),
    ("numbers", "<int=>, <float=> = <int>, <float>"),
    ("tensors", "<row=>, <scalar=> = <row>, <scalar>"),
    ("ints", "<ints=>.append(<int>)"),
    ("ints", "<ints=>.insert(0, <int>)"),
    ("ints", "<ints=>.extend([<int>, <int>])"),
    ("ints", "<ints=> += [<int>]"),
    ("ints", "<ints=> = <ints!>[-3:]"),
    ("ints", "<ints=>.reverse()"),
    ("ints", "<int=>, *<ints=> = [<int>] + <ints>"),
    ("floats", "<floats=>.append(<float>)"),
    ("floats", "<floats=>.clear()"),
    ("floats", "<floats=>[:1] = [<float>]"),
    ("rows", "<rows=>.append(<row>)"),
    ("rows", "<rows=> += [<row>]"),
    ("rows", "<rows=> = [<row>] + <rows!>[:2]"),
    ("rows", "del <rows=>[2:]"),
    ("tables", "<table=>[<key>] = <float>"),
    ("tables", "<table=>.update(b=<float>)"),
    ("tables", "<table=>.setdefault(<key>, <float>)"),
    ("tables", "<table=>.pop(<key>, None)"),
    ("tables", "<rowtable=>[<key>] = <row>"),
    ("objects", "<record=>.count += <int>"),
    ("objects", "<record=>.value = <row>"),
    ("objects", "<record=>.tags.append(<int>)"),
    ("objects", "<row=> = <record!>.grown(<pos>).value"),
    ("nones", "<maybe=> = <row>"),
    ("effects", "print(<row!>, <int>)"),
    ("alias", "<rows=> = <rows!>"),
    ("alias", "<ints=> = <ints!>"),
    *networks.ACTIONS,
)
# What needs a variable that is there: popped, indexed, assigned.
GUARDED: tuple[tuple[str, str, str], ...] = (
    ("ints", "<ints!>", "<int> = {0}.pop()"),
    ("ints", "<ints!>", "{0}[0] = <int>"),
    ("ints", "<ints!>", "{0}[-1] += 1"),
    ("ints", "<ints!>", "del {0}[0]"),
    ("floats", "<floats!>", "<float> = {0}.pop(0)"),
    ("floats", "<floats!>", "{0}[-1] = <float>"),
    ("rows", "<rows!>", "<row> = {0}.pop()"),
    ("rows", "<rows!>", "{0}[0] = <row>"),
    ("rows", "<rows!>", "{0}[-1] = {0}[-1] * 0.5"),
    ("tables", "<table!>", "<float> = min({0}.values())"),
    ("nones", "<maybe!> is not None", "<row> = {0} + 1"),
    *networks.GUARDED,
)
# feature, head of a `for`, what it binds
HEADS: tuple[tuple[str, str, dict[str, Kind]], ...] = (
    ("basic", "for i in range(<pos>):", {"i": Kind.INT}),
    ("basic", "for i in range(4):", {"i": Kind.INT}),
    ("basic", "for i in range(<int> % 4):", {"i": Kind.INT}),
    ("basic", "for i in range(2, <int> % 6, <pos>):", {"i": Kind.INT}),
    ("basic", "for v in [<row>, <row>]:", {"v": Kind.ROW}),
    ("layers", "for layer in self.layers:", {}),
    ("layers", "for i, layer in enumerate(self.layers):", {"i": Kind.INT}),
    ("layers", "for layer in reversed(self.layers):", {}),
    ("rows", "for v in list(<rows>):", {"v": Kind.ROW}),
    ("rows", "for i, v in enumerate(list(<rows>), <small>):", {"i": Kind.INT, "v": Kind.ROW}),
    ("rows", "for u, v in zip(list(<rows>), [<row>, <row>]):", {"u": Kind.ROW, "v": Kind.ROW}),
    ("ints", "for k in <ints>[:4]:", {"k": Kind.INT}),
    ("ints", "for k in reversed(<ints>[:3]):", {"k": Kind.INT}),
    ("floats", "for f in <floats>[:4]:", {"f": Kind.FLOAT}),
    ("floats", "for k, f in enumerate(<row>[0].tolist()):", {"k": Kind.INT, "f": Kind.FLOAT}),
    ("tables", "for key, f in list(<table>.items()):", {"f": Kind.FLOAT}),
    ("tables", "for key, v in sorted(<rowtable>.items(), key=len):", {"v": Kind.ROW}),
    ("sizes", "for t in <vector>:", {"t": Kind.SCALAR}),
    *networks.HEADS,
)
WRITES = (
    "{0}[:, <column>] = <bias>",
    "{0}[0, <column>] = <float>",
    "{0}[:, 1:3] = <row>[:, :2]",
    "{0}[0, <int> % 4] = <bias>",
    "{0}.add_(<row>)",
    "{0}.mul_(<factor>)",
    "{0} += <row>",
    "{0} *= <factor>",
    "{0}[<mask>] = <bias>",
    "{0}.view(4)[<column>] = <bias>",
    "{0}[0].add_(<bias>)",
    "{0}.copy_(<row>)",
    "{0}.zero_()",
    "{0}.clamp_(min=<bias>)",
    "{0}.masked_fill_(<mask>, <bias>)",
    "{0}[:, <column>] += <scalar>",
    "torch.relu_({0})",
    "{0}.t()[<column>] = <bias>",
)
VIEW_WRITES = ("{0}.add_(<bias>)", "{0} *= <factor>", "{0}[:, 0] = <bias>", "{0}[:] = <row>[:, 2:]", "{0}.zero_()")


BUFFER = "self.buffer"  # an attribute that is written in place alone


class Statements(Expressions):
    """Writes statements into `lines`."""

    def __init__(self, rng: random.Random, features: frozenset[str]) -> None:
        super().__init__(rng, features)
        self.lines: list[str] = []
        self.indent = 0
        self.budget = 0
        self.returns: Callable[[], str] | None = None  # writes what follows `return`
        self.yields: Kind | None = None
        self.is_state_open = False  # whether attributes may be written

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    @contextmanager
    def block(self, head: str, **changes: object) -> Iterator[Scope]:
        """A block with a scope of its own."""
        self.line(head)
        before, self.scope = self.scope, self.scope.inner(**changes)
        self.indent += 1
        try:
            yield before
        finally:
            self.indent -= 1
            self.scope = before

    def body(self, low: int = 1, high: int = 3) -> None:
        """A few statements."""
        for _ in range(self.rng.randint(low, high)):
            self.statement()

    def bind(self, kind: Kind, value: str) -> str:
        """Assign to a name of the kind."""
        name = self.fresh(kind)
        if name in self.scope.owned:
            value = f"({value}).clone()"
        self.line(f"{name} = {value}")
        self.scope.names[name] = kind
        return name

    # ------------------------------------------------------------ statements

    def statement(self) -> None:
        """One statement, compound ones while there is budget."""
        self.budget -= 1
        if self.budget < 0 or self.indent > 5:
            self.assign()
            return
        choices = self.choices()
        able = [(weight, do) for weight, feature, do in choices if feature == "basic" or feature in self.features]
        self.rng.choices([do for _, do in able], [weight for weight, _ in able])[0]()

    def choices(self) -> list[tuple[int, str, Callable[[], None]]]:
        """What a statement may be: how often, by what feature."""
        return [
            (6, "basic", self.assign),
            (4, "basic", self.action),
            (5, "basic", self.if_),
            (3, "loops", self.for_),
            (2, "loops", self.while_),
            (3, "loops", self.jump),
            (3, "errors", self.try_),
            (2, "errors", self.raise_),
            (2, "returns", self.return_),
            (3, "inplace", self.write_in_place),
            (2, "match", self.match_),
            (2, "closures", self.closure),
            (2, "generators", self.consume),
            (3, "state", self.write_state),
            (1, "managers", self.with_),
            (2, "guards", self.guarded),
            (1, "asserts", self.assert_),
            (2, "yield", self.yield_),
        ]

    def assign(self) -> None:
        kinds = [*SIMPLE, *(kind for feature, kind in BY_FEATURE if feature in self.features)]
        kind = self.rng.choice(kinds)
        if kind is Kind.MAYBE or (kind is Kind.BOOL and self.chance(0.5)):
            self.bind(kind, self.expr(kind, 2))
        else:
            self.bind(kind, self.expr(kind, self.rng.randint(1, 3)))

    def action(self) -> None:
        """Something done to what is there."""
        able = [t for f, t in ACTIONS if self._may_use(f, t)]
        text = self.rng.choice(able) if able else "<row=> = <row>"
        for word in _TARGET.findall(text):
            options = [n for n in self._targets(word) if n not in self.scope.owned]
            if not options:
                return self.assign()
            text = text.replace(f"<{word}=>", self.rng.choice(options), 1)
        return self.line(self.fill(text, 2))

    def _targets(self, word: str) -> list[str]:
        kind = Kind(word)
        return [n for n in self.variables(kind) if n not in self.scope.fixed and (self.is_state_open or "." not in n)]

    def if_(self) -> None:
        names = None
        with self.block(f"if {self.cond(3)}:"):
            self.body()
            names = dict(self.scope.names)
        if self.chance(0.3):
            with self.block(f"elif {self.cond(2)}:"):
                self.body()
        elif self.chance(0.6):
            with self.block("else:"):
                self.body()
                both = {n: k for n, k in self.scope.names.items() if names.get(n) is k}
            self.scope.names.update({n: k for n, k in both.items() if n not in self.scope.names})

    def guarded(self) -> None:
        able = [(t, do) for f, t, do in GUARDED if self._may_use(f, t)]
        if not able:
            return self.assign()
        test, do = self.rng.choice(able)
        variable, _, rest = test.partition(" ")
        options = self._targets(variable[1:-2])
        if not options:
            return self.assign()
        name = self.rng.choice(options)
        with self.block(f"if {name} {rest}".rstrip() + ":"):
            target, equals, value = do.partition(" = ")
            if target.startswith("<"):
                self.bind(Kind(target[1:-1]), self.fill(value.format(name), 1))
            else:
                self.line(self.fill((target + equals + value).format(name), 2))
        return None

    # ------------------------------------------------------------ loops

    def for_(self) -> None:
        able = [(head, bound) for feature, head, bound in HEADS if self._may_use(feature, head)]
        template, bound = self.rng.choice(able)
        with self.block(self.fill(template, 2), in_loop=True, fixed=self.scope.fixed | set(bound)):
            self.scope.names.update(bound)
            self.body(1, 4)
        if self.chance(0.2):
            with self.block("else:"):
                self.body(1, 2)

    def while_(self) -> None:
        if self.chance(0.35):
            return self._shrinking()
        limit = self.rng.choice([2, 3, 4, 5, 20])
        name = f"k{self.indent}"
        self.line(f"{name} = 0")
        self.scope.names[name] = Kind.INT
        test = f"{name} < {limit}"
        head = self.one_of(f"{self.cond(2)} and {test}", f"{test} and {self.cond(2)}", test, "True")
        with self.block(f"while {head}:", in_loop=True, fixed=self.scope.fixed | {name}):
            self.line(f"{name} += 1")
            if head == "True":
                self.line(f"if {name} > {limit} or {self.cond(2)}:")
                self.line("    break")
            self.body(1, 4)
        if self.chance(0.25):
            with self.block("else:"):
                self.body(1, 2)
        return None

    def _shrinking(self) -> None:
        """A loop that nothing but the data ends."""
        name = f"shrunk{self.indent}"
        self.line(f"{name} = torch.tanh({self.expr(Kind.ROW, 1)})")
        self.scope.names[name] = Kind.ROW
        counter = self.variables(Kind.INT)
        test = self.one_of("{0}.abs().sum() > 0.3", "{0}.norm().item() > 0.4", "{0}.abs().max() > 0.2").format(name)
        with self.block(f"while {test}:", in_loop=True, fixed=self.scope.fixed | {name}):
            self.line(f"{name} = {name} * {self.one_of('0.5', '0.7')}")
            writable = [n for n in counter if n not in self.scope.fixed and (self.is_state_open or "." not in n)]
            if writable:
                self.line(f"{self.rng.choice(writable)} += 1")
            self.body(0, 3)

    def jump(self) -> None:
        if not self.scope.in_loop:
            return self.if_()
        with self.block(f"if {self.cond(2)}:"):
            if self.chance(0.4):
                self.statement()
            self.line(self.one_of("break", "continue"))
        return None

    def return_(self) -> None:
        if self.returns is None:
            return self.assign()
        with self.block(f"if {self.cond(2)}:"):
            if self.chance(0.3):
                self.statement()
            self.line(f"return {self.returns()}")
        return None

    def yield_(self) -> None:
        if self.yields is None:
            return self.assign()
        return self.line(f"yield {self.expr(self.yields, 2)}")

    # ------------------------------------------------------------ exceptions

    def try_(self) -> None:
        kind = self.rng.choice(["Stop", "Stop", "ZeroDivisionError", "ValueError", "Halt"])
        caught = {"Stop": {"Stop", "Halt"}, "Halt": {"Halt"}}.get(kind, {kind})
        with self.block("try:", protected=self.scope.protected | caught, owned=self.scope.owned):
            self.body(1, 3)
            if self.chance(0.6):
                self._throw(kind)
        has_handler = self.chance(0.85) or kind not in self.scope.protected
        if has_handler:
            name = " as stop" if kind in ("Stop", "Halt") else self.one_of("", " as error")
            with self.block(f"except {self._caught(kind)}{name}:"):
                self._handle(kind, name)
            if self.chance(0.2):
                with self.block("else:"):
                    self.body(1, 2)
        if not has_handler or self.chance(0.3):
            with self.block("finally:", in_loop=False):
                returns, self.returns = self.returns, None
                self.body(1, 2)
                self.returns = returns

    def _caught(self, kind: str) -> str:
        if self.chance(0.2):
            return f"({kind}, KeyError)"
        return self.one_of("Stop", "Exception") if kind == "Halt" and self.chance(0.0) else kind

    def _throw(self, kind: str) -> None:
        match kind:
            case "Stop" | "Halt":
                with self.block(f"if {self.cond(2)}:"):
                    self.line(self.fill(f"raise {kind}(<row>, <int>)", 1))
            case "ZeroDivisionError":
                self.bind(Kind.FLOAT, self.fill(self.one_of("<float> / <int>", "<int> // <int>", "<int> % <int>"), 1))
            case _:
                self.bind(Kind.FLOAT, self.fill(self.one_of("math.sqrt(<float>)", "math.log(<float>)"), 1))

    def _handle(self, kind: str, name: str) -> None:
        if kind in ("Stop", "Halt"):
            self.bind(Kind.ROW, self.fill("stop.value * <factor>", 1))
            if self.chance(0.5):
                self.bind(Kind.INT, "stop.number + 1")
            if self.chance(0.15) and "Stop" in self.scope.protected:
                self.line(self.one_of("raise", "raise Stop(stop.value, 7) from stop"))
                return
        elif name and self.has("text") and self.chance(0.4):
            self.bind(Kind.TEXT, "str(error)")
        self.body(1, 2)

    def raise_(self) -> None:
        if "Stop" not in self.scope.protected and not self.chance(0.1):
            return self.try_()
        with self.block(f"if {self.cond(2)}:"):
            self.line(self.fill(f"raise {self.one_of('Stop', 'Stop', 'Halt')}(<row>, <int>)", 1))
        return None

    def assert_(self) -> None:
        if self.chance(0.85):
            self.line("try:")
            self.line(f"    assert {self.cond(2)}, {self.expr(Kind.TEXT, 1)}")
            self.line("except AssertionError:")
            self.line("    " + self.fill("<row!> + 1", 1))
            return
        self.line(f"assert {self.cond(2)}, {self.expr(Kind.TEXT, 1)}")

    # ------------------------------------------------------------ memory and state

    def write_in_place(self) -> None:
        owned = [n for n in self.scope.owned if self.scope.names.get(n) is Kind.ROW]
        views = [n for n in self.variables(Kind.VIEW) if "." not in n and n not in self.scope.fixed]
        roll = self.rng.random()
        if not owned or roll < 0.2:
            name = self._new_name("own")
            self.line(f"{name} = ({self.expr(Kind.ROW, 2)}).clone()")
            self.scope.names[name] = Kind.ROW
            self.scope.owned |= {name}
            owned = [name]
        name = self.rng.choice(sorted(owned))
        if roll > 0.9 and self.has("views"):
            other = self._new_name("view")
            self.line(f"{other} = {name}[:, {self.one_of('1:3', ':2', '2:', '::2')}]")
            self.scope.names[other] = Kind.VIEW
            return
        if views and roll > 0.75:
            self.line(self.fill(self.rng.choice(VIEW_WRITES).format(self.rng.choice(views)), 1))
            return
        if 0.7 < roll < 0.75 and self.has("alias"):
            other = self._new_name("own")
            self.line(f"{other} = {name}")
            self.scope.names[other] = Kind.ROW
            self.scope.owned |= {other}
            return
        self.line(self.fill(self.rng.choice(WRITES).format(name), 1))

    def _new_name(self, stem: str) -> str:
        number = 1
        while f"{stem}{number}" in self.scope.names:
            number += 1
        return f"{stem}{number}"

    def write_state(self) -> None:
        able = [(n, k) for n, k in self.attributes.items() if self.is_state_open]
        if not able:
            return self.assign()
        name, kind = self.rng.choice(able)
        match kind:
            case Kind.INT:
                self.line(
                    self.fill(self.one_of(f"{name} += 1", f"{name} = <int> % 9", f"{name} = ({name} + <pos>) % 5"), 1)
                )
            case Kind.FLOAT:
                self.line(self.fill(self.one_of(f"{name} += <float>", f"{name} = {name} * 0.5 + <float>"), 1))
            case Kind.ROW:
                if name == BUFFER:
                    self.line(self.fill(self.rng.choice(WRITES).format(name), 1))
                else:
                    self.line(self.fill(self.one_of(f"{name} = <row>", f"{name} = {name} * 0.5 + <row>"), 2))
            case Kind.INTS:
                self.line(self.fill(self.one_of(f"{name} = ({name} + [<int>])[-3:]", f"{name} = [<int>]"), 1))
            case Kind.ROWS:
                self.line(self.fill(self.one_of(f"{name} = ({name} + [<row>])[-2:]", f"{name} = [<row>]"), 1))
            case Kind.MAYBE:
                self._write_maybe(name)
            case _:
                self.line(self.fill(f"{name} = <{kind.value}>", 2))
        return None

    def _write_maybe(self, name: str) -> None:
        if self.chance(0.3):
            self.line(self.fill(f"{name} = <maybe>", 2))
            return
        with self.block(f"if {name} is None:"):
            self.line(f"{name} = {self.expr(Kind.ROW, 1)}")
        with self.block("else:"):
            self.bind(Kind.ROW, self.fill(f"{name} * <factor> + <row>", 1))

    # ------------------------------------------------------------ the rest

    def match_(self) -> None:
        subject, cases = self.rng.choice(
            [
                ("<int>", ["case 0:", "case 1 | 2:", "case k if k > <small>:", "case -1:"]),
                ("(<int>, <bool>)", ["case (0, True):", "case (k, False):", "case (1 | 2, _):"]),
                ("<maybe>", ["case None:", "case torch.Tensor():"]),
                ("<record>", ["case Record(count=0):", "case Record(value=v, count=k):"]),
                ("<ints>", ["case []:", "case [k]:", "case [k, *_]:"]),
                ("<text>", ["case 'low':", "case 'high' | 'a':"]) if not self.has("text") else ("<int>", ["case 3:"]),
            ]
        )
        kinds = {"k": Kind.INT, "v": Kind.ROW}
        with self.block(f"match {self.fill(subject, 2)}:"):
            for case in self.rng.sample(cases, self.rng.randint(1, len(cases))):
                bound = {n: k for n, k in kinds.items() if f"({n}" in case or f"[{n}" in case or f"={n}" in case}
                bound |= {"k": Kind.INT} if "case k" in case else {}
                with self.block(self.fill(case, 1)):
                    self.scope.names.update(bound)
                    self.body(1, 2)
            if self.chance(0.5):
                with self.block("case _:"):
                    self.body(1, 2)

    def closure(self) -> None:
        """A function that sees, and perhaps changes, what is around it; called at once and perhaps kept."""
        name = self._new_name("step")
        outer = self.scope
        free = [n for n, k in outer.names.items() if k in (Kind.INT, Kind.ROW, Kind.FLOAT) and n not in outer.fixed]
        free = [n for n in free if n not in outer.owned and n not in ("v", "q")]
        changed = self.rng.sample(free, min(len(free), self.rng.randint(0, 2)))
        returns, yields = self.returns, self.yields
        default = self.fill("<small>", 0)
        fixed = frozenset(outer.names) - set(changed)
        with self.block(
            f"def {name}(v, q={default}):", in_loop=False, fixed=fixed, owned=frozenset(), protected=frozenset()
        ):
            if changed:
                self.line(f"nonlocal {', '.join(changed)}")
            self.scope.names = {n: k for n, k in self.scope.names.items() if n not in ("v", "q")}
            self.scope.names |= {"v": Kind.ROW, "q": Kind.INT}
            self.returns = lambda: self.expr(Kind.ROW, 1)
            self.yields = None
            budget, self.budget = self.budget, min(self.budget, 3)
            self.body(1, 3)
            self.budget = min(budget, budget - 3 + self.budget)
            self.line(f"return {self.expr(Kind.ROW, 2)}")
        self.returns, self.yields = returns, yields
        for _ in range(self.rng.randint(1, 2)):
            call = f"{name}({self.expr(Kind.ROW, 1)}{self.one_of('', ', 2', ', q=1')})"
            if self.chance(0.2):
                call = f"functools.partial({name}, q=<small>)(<row>)"
            self.bind(Kind.ROW, self.fill(call, 1))

    def consume(self) -> None:
        able = [c for c in self.callees if c.is_generator]
        if not able:
            return self.assign()
        kind = self.rng.random()
        before = self.scope
        self.scope = before.inner(is_plain=kind >= 0.85)
        call = self.arguments(self.rng.choice(able), 1)
        self.scope = before
        if kind < 0.5:
            with self.block(f"for v in {call}:", in_loop=True, fixed=self.scope.fixed | {"v"}):
                self.scope.names["v"] = Kind.ROW
                self.body(1, 3)
        elif kind < 0.7:
            self.bind(Kind.ROWS, f"list({call})")
        elif kind < 0.85:
            self.bind(Kind.ROW, f"next({call}, {self.expr(Kind.ROW, 1)})")
        else:
            self.bind(Kind.FLOAT, f"sum(v.sum().item() for v in {call})")
        return None

    def with_(self) -> None:
        name = self.fresh(Kind.INTS)
        self.line(f"{name} = []")
        self.scope.names[name] = Kind.INTS
        with self.block(f"with Guard({name}, {self.one_of('True', 'False')}):", protected=self.scope.protected):
            self.body(1, 3)
            if self.chance(0.4) and "Stop" in self.scope.protected:
                self._throw("Stop")
