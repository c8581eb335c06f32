"""Statements of several lines that real networks are made of: worklists, factories, searches, lookups that fail."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.kinds import Kind
from tests.fuzz.statements import Statements


class Idioms(Statements):
    """Statements with their idioms."""

    def choices(self) -> list[tuple[int, str, Callable[[], None]]]:
        return [
            *super().choices(),
            (2, "worklists", self.worklist),
            (2, "worklists", self.search),
            (2, "functions", self.factory),
            (2, "errors", self.lookup),
            (1, "errors", self.late),
            (2, "returns", self.finally_),
            (1, "effects", self.no_grad),
            (2, "generators", self.local_generator),
            (2, "owns", self.views),
        ]

    def worklist(self) -> None:
        """A list that is worked off, and grows while it is."""
        work, limit = self._new_name("work"), f"left{self.indent}"
        take = self.one_of(f"{work}.pop()", f"{work}.pop(0)")
        self.line(f"{work}, {limit} = [({self.expr(Kind.ROW, 1)}, 0)], {self.rng.randint(2, 5)}")
        with self.block(
            f"while {work} and {limit} > 0:", in_loop=True, fixed=self.scope.fixed | {work, limit, "d", "v"}
        ):
            self.line(f"{limit} -= 1")
            self.line(f"v, d = {take}")
            self.scope.names |= {"v": Kind.ROW, "d": Kind.INT}
            self.body(0, 2)
            with self.block(f"if {self.one_of('d < 2 and ', '')}{self.cond(1)}:"):
                self.line(self.fill(f"{work}.append((<row>, d + 1))", 1))

    def search(self) -> None:
        """Two loops; the inner one ends both."""
        name = self._new_name("hit")
        self.line(f"{name} = False")
        self.scope.names[name] = Kind.BOOL
        outer, inner = f"p{self.indent}", f"q{self.indent}"
        fixed = self.scope.fixed | {outer, inner}
        with self.block(f"for {outer} in range({self.rng.randint(2, 3)}):", in_loop=True, fixed=fixed):
            self.scope.names[outer] = Kind.INT
            with self.block(self.fill(f"for {inner} in range(<pos>):", 1), in_loop=True, fixed=fixed):
                self.scope.names[inner] = Kind.INT
                self.body(0, 2)
                with self.block(f"if {self.cond(2)}:"):
                    self.line(f"{name} = True")
                    self.line("break")
            if self.chance(0.5):
                with self.block("else:"):
                    self.body(0, 1)
                    self.line("continue")
                self.line("break")
            else:
                with self.block(f"if {name}:"):
                    self.line("break")

    def factory(self) -> None:
        """Functions made in a loop or by a function, each with its own variables."""
        name = self._new_name("made")
        if self.chance(0.5):
            self.line(self.fill(f"{name} = [lambda r, k=k: r * k + <bias> for k in <ints>[:3]]", 1))
            self.bind(Kind.ROW, self.fill(f"functools.reduce(lambda r, f: f(r), {name}, <row>)", 1))
            return
        with self.block(f"def {name}(start):", in_loop=False, fixed=frozenset(self.scope.names), protected=frozenset()):
            self.line("at = start")
            self.line("def turn(r):")
            self.line("    nonlocal at")
            self.line(f"    at = at {self.one_of('+ 1', '+ r.sum().item()', '* 0.5')}")
            self.line("    return r + at")
            self.line("return turn")
        one = self._new_name("turn")
        self.line(self.fill(f"{one} = {name}({self.one_of('<float>', '<int>')})", 1))
        for _ in range(self.rng.randint(1, 3)):
            self.bind(Kind.ROW, self.fill(f"{one}(<row>)", 1))
        if self.chance(0.4):
            with self.block(f"if {self.cond(2)}:"):
                self.bind(Kind.ROW, self.fill(f"{one}(<row>)", 1))
            self.bind(Kind.ROW, self.fill(f"{one}(<row>)", 1))

    def lookup(self) -> None:
        """Something that may not be there, and is caught."""
        error, kind, text = self.rng.choice(
            [
                ("KeyError", Kind.FLOAT, "<table>[<key>]"),
                ("KeyError", Kind.ROW, "<rowtable>[<key>]"),
                ("KeyError", Kind.INT, "{0: 3, 2: <int>}[<int>]"),
                ("IndexError", Kind.ROW, "[<row>, <row>][<int>]"),
                ("IndexError", Kind.INT, "<ints>[<small>]"),
                ("IndexError", Kind.FLOAT, "<floats>.pop()"),
                ("IndexError", Kind.FLOAT, "<row>[0, <int>].item()"),
                ("ValueError", Kind.INT, "<ints>.index(<int>)"),
                ("ValueError", Kind.INT, "int(<text>)"),
                ("ValueError", Kind.FLOAT, "max(<floats>)"),
                ("ValueError", Kind.INT, "[*<ints>, 1, 2].index(<small>)"),
                ("StopIteration", Kind.ROW, "next(iter(<rows>))"),
                ("StopIteration", Kind.ROW, "next(v for v in <rows> if v.sum() > <bias>)"),
                ("TypeError", Kind.ROW, "<maybe> * 2"),
                ("AttributeError", Kind.FLOAT, "<maybe>.sum().item()"),
                ("AttributeError", Kind.INT, "<record>.missing"),
                ("ZeroDivisionError", Kind.INT, "<int> // <int>"),
                ("ZeroDivisionError", Kind.INT, "<int> % (<int> - 1)"),
                ("OverflowError", Kind.FLOAT, "math.exp(<float> * 200)"),
            ]
        )
        with self.block("try:", protected=self.scope.protected):
            name = self.bind(kind, self.fill(text, 1))
            if self.chance(0.4):
                self.statement()
        with self.block(f"except {self.one_of(error, error, f'({error}, KeyError)', 'Exception')}:"):
            if self.chance(0.7):
                self.line(f"{name} = {self.expr(kind, 1)}" + (".clone()" if name in self.scope.owned else ""))
            else:
                self.statement()

    def late(self) -> None:
        """A variable that is bound on some paths only."""
        name = self._new_name("late")
        with self.block(f"if {self.cond(2)}:"):
            self.line(self.fill(f"{name} = <row>", 1))
        with self.block("try:"):
            self.bind(Kind.ROW, f"{name} * 2")
        with self.block(f"except {self.one_of('NameError', 'UnboundLocalError')}:"):
            self.statement()

    def finally_(self) -> None:
        """A way out through a `finally`."""
        if self.returns is None:
            return self.assign()
        with self.block("try:"):
            self.body(1, 2)
            with self.block(f"if {self.cond(2)}:"):
                way = self.one_of("break", "continue") if self.scope.in_loop and self.chance(0.6) else None
                self.line(way or f"return {self.returns()}")
        with self.block("finally:", in_loop=False):
            returns, self.returns = self.returns, None
            self.body(1, 2)
            self.returns = returns
        return None

    def no_grad(self) -> None:
        with self.block("with torch.no_grad():"):
            self.body(1, 2)

    def local_generator(self) -> None:
        """A generator inside, which sees what is around it, taken in one of several ways."""
        name = self._new_name("gen")
        fixed = frozenset(self.scope.names)
        with self.block(f"def {name}(v):", in_loop=False, fixed=fixed, owned=frozenset(), protected=frozenset()):
            self.scope.names = {n: k for n, k in self.scope.names.items() if n != "v"} | {"v": Kind.ROW}
            with self.block(f"for t in range({self.rng.randint(1, 3)}):"):
                self.line(self.fill(f"v = {self.one_of('v * <factor>', 'v + <row>', 'v + t')}", 1))
                with self.block(f"if {self.cond(1)}:"):
                    self.line(self.one_of("return", "continue", "yield v * 2"))
                self.line("yield v")
        before = self.scope
        self.scope = before.inner(is_plain=True)
        call, other = self.fill(f"{name}(<row>)", 1), self.fill(f"{name}(<row>)", 1)
        self.scope = before
        match self.rng.randint(0, 6):
            case 0:
                self.bind(Kind.ROWS, f"[*{call}]")
            case 1:
                self.bind(Kind.ROW, f"sum({call}, {self.expr(Kind.ROW, 1)})")
            case 2:
                one = self._new_name("it")
                self.line(f"{one} = {call}")
                self.bind(Kind.ROW, f"next({one}, {self.expr(Kind.ROW, 0)})")
                self.bind(Kind.ROWS, f"list({one})")
            case 3:
                self.bind(Kind.FLOAT, f"max((r.sum().item() for r in {call}), default=0.0)")
            case 4:
                self.bind(Kind.BOOL, f"any(r.sum() > {round(self.rng.gauss(0, 1), 2)} for r in {call})")
            case 5:
                self.bind(Kind.ROWS, f"[a + b for a, b in zip({call}, {other})]")
            case _:
                with self.block(f"for i, v in enumerate({call}):", in_loop=True, fixed=self.scope.fixed | {"i", "v"}):
                    self.scope.names |= {"i": Kind.INT, "v": Kind.ROW}
                    self.body(1, 2)

    def views(self) -> None:
        """Memory seen in several ways, written through one of them on some paths."""
        base, one = self._new_name("own"), self._new_name("part")
        self.line(self.fill(f"{base} = (<row>).clone()", 1))
        see = self.one_of(
            "{0}[0]", "{0}.view(2, 2)", "{0}[:, 1:]", "{0}.T", "{0}.unbind(1)[2]", "{0}.chunk(2, 1)[1]", "{0}[0][1:3]"
        )
        self.line(f"{one} = {see.format(base)}")
        self.scope.names[base] = Kind.ROW
        self.scope.owned |= {base}
        write = self.one_of(
            "{0}.add_(<bias>)",
            "{0}.mul_(<factor>)",
            "{0}.zero_()",
            "{0}[...] = <float>",
            "{0} += <bias>",
            "{0}.copy_({0} * 2)",
            "{0}.clamp_(max=<bias>)",
        )
        if self.chance(0.7):
            with self.block(f"if {self.cond(2)}:"):
                self.line(self.fill(write.format(self.one_of(one, base)), 1))
            if self.chance(0.5):
                with self.block("else:"):
                    self.line(self.fill(write.format(self.one_of(one, base)), 1))
        else:
            with self.block(f"for _ in range({self.one_of('2', self.fill('<int> % 3', 1))}):"):
                self.line(self.fill(write.format(self.one_of(one, base)), 1))
        if self.chance(0.4):
            self.line(self.fill(write.format(base), 1))
        self.bind(Kind.FLOAT, f"{one}.sum().item()")
        self.bind(Kind.ROW, f"{base} * {one}.sum()")
