"""Programs about expressions, functions and binding: each public function takes a recorder `r`."""
# ruff: noqa

from functools import wraps


class Box:
    def __init__(self, r, **values):
        object.__setattr__(self, "r", r)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __getitem__(self, key):
        self.r(("get", key))
        return self.__dict__.get(key, 10)

    def __setitem__(self, key, value):
        self.r(("set", key, value))

    def __delitem__(self, key):
        self.r(("delete", key))

    def __setattr__(self, name, value):
        self.r(("setattr", name, value))
        object.__setattr__(self, name, value)

    def __delattr__(self, name):
        self.r(("delattr", name))


class Number:
    def __init__(self, r, value):
        self.r, self.value = r, value

    def __getattribute__(self, name):
        if name.startswith("__"):
            object.__getattribute__(self, "r")(name)
        return object.__getattribute__(self, name)

    def __add__(self, other):
        self.r(("add", self.value, other))
        return Number(self.r, self.value + 1)

    def __iadd__(self, other):
        self.r(("iadd", self.value, other))
        self.value += other
        return self


def literals(r):
    """Docstring."""
    "a constant statement"
    1
    ...
    return (
        0xFF,
        1_000,
        1e3,
        2j,
        -3,
        -0.0,
        +1,
        ~5,
        "a\tb",
        r"\n",
        b"\x00",
        "xyz",
        b"ab",
        ...,
        None,
        True,
        (1, (2, "t")),
        not None,
        """tri"ple""",
        "\N{EM DASH}",
        -True,
    )


def operators(r):
    a, b = r(7), r(3)
    out = [a + b, a - b, a * b, a / b, a // b, a % b, a**b, a << b, a >> b, a & b, a | b, a ^ b]
    out += [a == b, a != b, a < b, a <= b, a > b, a >= b, a is b, a is not b, a in [b], a not in [b], -a, +a, ~a, not a]
    out.append(-(2**2) + 2**-1)
    out.append(r(1) + r(2) * r(3) - r(4))
    try:
        return a @ b
    except TypeError as e:
        return out, str(e)


def operand_is_read_at_once(r):
    x = 1
    a = x + (x := r(5)) + x
    b = [x, (x := 6), x]
    d = {}
    d[x] = (x := 7)
    return a, b, d, r(x)


def argument_is_read_at_once(r):
    def change():
        nonlocal x
        x += 1
        return x

    x = 1
    return (x, change(), x), [x, change()], r(x) + change() + x


def augmented(r):
    x = r(1)
    x += r(2)
    x -= 1
    x *= 6
    x //= 2
    x **= 2
    x %= 50
    x <<= 2
    x >>= 1
    x |= 1
    x ^= 3
    x &= 0xFF
    x /= 2
    xs = ys = [1]
    xs += [2]
    box = Box(r, a=1)
    box.a += r(5)
    box[r("k")] += r(6)
    box[r(1) : r(2)] += r(3)
    d = {"a": [1]}
    d["a"] += (2,)
    n = Number(r, 1)
    m = n
    n += 5
    return x, ys, d, n is m


def augmented_order(r):
    x = 1
    try:
        x += (x := 5)
        r(x)
        y += r(1)
    except UnboundLocalError as e:
        r(str(e))

    def f():
        nonlocal x
        x += 10

    f()
    t = ([1],)
    try:
        t[0] += [2]
    except TypeError as e:
        r(str(e))
    return x, t


def assignment(r):
    a = b = r([])
    a.append(1)
    c, d = r(1), r(2)
    c, d = d, c
    (e, [f, *g]), h = (1, "xyz"), 2
    *i, j = range(4)
    k, *l = "a"
    box = Box(r)
    box.x, box[r("i")], m = r("abc")
    box[0], box.y = box.z = r((1, 2))
    [n] = [5]
    () = []
    i, i = 1, 2
    return b, c, d, e, f, g, h, i, j, k, l, m, n


def assignment_order(r):
    def at(name):
        r(name)
        return Box(r)

    at("a")[r("b")] = at("c").x = r("d")
    at("e").y, at("f")[r("g")] = r("h"), r("i")
    i = 0
    xs = [9, 9, 9]
    i, xs[i] = 1, 2
    i = xs[i] = 0
    return xs, i


def unpack_errors(r):
    for value, count in (((1,), 2), ((1, 2, 3), 2), (5, 2), ((), 3)):
        try:
            if count == 2:
                a, b = value
            else:
                a, *b, c = value
        except (ValueError, TypeError) as e:
            r(str(e))
    a = "before"
    try:
        a, b = (r("new"), *[1, 2])
    except ValueError:
        pass
    return a


def annotated(r):
    x: int = r(1)
    y: undefined_name
    z: "text" = r(2)
    box = Box(r)
    box.a: undefined_name = r(3)
    box[r("k")]: undefined_name = r(4)
    box.b: int
    try:
        return y
    except UnboundLocalError as e:
        return str(e), x, z


def deletes(r):
    box = Box(r, a=1)
    del box.a, box[r("k")], box[r(1) : r(2)]
    xs = [1, 2, 3, 4]
    del xs[0], xs[1:]
    x = y = 1
    del x, (y)
    return xs


def displays(r):
    a, b = [1, 2], {"k": 1}
    return (
        [r(1), *a, r(2), *r((3, 4)), 5],
        (*a, *a),
        (*a,),
        {r(3), *a},
        {r("x"): r("y"), **b, r("z"): r("w"), **{"k": 2}, "k": 3},
        [],
        {},
        (),
        {1: 2},
        [*a],
        [*[], r(1)],
    )


def display_order(r):
    def gen(name, n):
        for i in range(n):
            r((name, i))
            yield i

    a = [*gen("a", 2), r("b"), *gen("c", 1), r("d")]
    b = (r("e"), *gen("f", 2), r("g"))
    c = {*gen("h", 2), r("i")}
    xs = [1]
    d = [*xs, xs.append(2), *xs]
    m = {"a": 1}
    e = {**m, "b": m.update(c=3), **m}
    try:
        [r(1), *5, r(2)]
    except TypeError as err:
        r(str(err))
    try:
        {**5, 1: r(2)}
    except TypeError as err:
        r(str(err))
    try:
        {[]: r(1)}
    except TypeError as err:
        r(str(err))
    return a, b, c, d, e


def subscripts(r):
    xs = list(range(10))
    box = Box(r)
    box[1, 2]
    box[1,]
    box[()]
    box[r(1) : r(2), r(3)]
    box[..., None, ::2]
    box[*xs[:2], r("s")]
    box[r(1) :: r(2)]
    box[:]
    return xs[1], xs[-1], xs[2:5], xs[:3], xs[7:], xs[::3], xs[8:2:-2], xs[r(1) : r(4)][r(0)], "abc"[1]


def calls(r):
    def f(a, b=2, *args, c, d=4, **kwargs):
        return a, b, args, c, d, kwargs

    xs, kw = [1, 2, 3], {"c": 5, "z": 6}
    out = [
        f(1, c=3),
        f(*xs, c=1),
        f(*xs, **kw),
        f(0, *xs, 9, *xs, c=r(1), **{"q": 1}),
        f(r(1), r(2), c=r(3), d=r(4), e=r(5)),
        f(c=r("kw first"), *r([1, 2])),
        f(*xs, *xs, **kw, y=r(7)),
    ]
    for attempt in (
        lambda: f(),
        lambda: f(1),
        lambda: f(1, c=2, a=3),
        lambda: f(1, **kw, c=3),
        lambda: f(*5, c=1),
        lambda: f(**5),
        lambda: f(1, *5),
        lambda: 5(),
    ):
        try:
            attempt()
        except TypeError as e:
            out.append(str(e).replace("calls.<locals>.", "").split(".")[-1])
    return out


def call_order(r):
    def gen(name):
        r((name, "start"))
        yield 1
        r((name, "end"))

    def f(*args, **kwargs):
        r("called")
        return args, kwargs

    f(*gen("a"), r("b"))
    f(*gen("c"), **r({}))
    f(r("d"), *gen("e"), k=r("f"))
    f(k=r("g"), *gen("h"))
    m = {"a": 1}
    f(**m, b=m.update(z=1))
    Box(r, f=f).f(r(1))
    r(f)(r(2))
    return f(*gen("i"), *gen("j"))


def functions(r):
    def positional(a, /, b, *, c=3):
        return a, b, c

    def defaults(a=r("default a"), *, b=r("default b")):
        return a, b

    def recursive(n):
        return 1 if n == 0 else n * recursive(n - 1)

    def documented():
        """Documentation."""

    def annotated(x: int = r(1), *args: r, **kw: "text") -> r:
        return x

    return positional(1, 2), positional(1, b=2, c=4), defaults(), recursive(5), documented(), annotated.__name__


def closures(r):
    counter = 0
    out = []

    def count(by=1):
        nonlocal counter
        counter += by
        return counter

    def outer(x):
        def middle():
            def inner():
                return x, counter

            return inner

        x += 1
        return middle()()

    for i in range(3):
        out.append(lambda: i)
        out.append(lambda i=i: i)
    late = [f() for f in out]
    return count(), count(5), counter, outer(1), late, (lambda *a, **k: (a, k))(1, b=2)


def parameter_is_captured(r):
    def f(a, *b, c=1, **d):
        def g():
            nonlocal a
            a += 1
            return a, b, c, d

        a *= 10
        return g(), a

    return f(1, 2, c=3, e=4)


def empty_cells(r):
    def f():
        return later

    try:
        f()
    except NameError as e:
        r((type(e), str(e)))
    try:
        later
    except NameError as e:
        r((type(e), str(e)))
    later = 1
    r(f())
    del later
    try:
        f()
    except NameError as e:
        r((type(e), str(e)))


def decorators(r):
    def named(name):
        r(("make", name))

        def decorate(function):
            r(("decorate", name))

            @wraps(function)
            def wrapper(*args, **kwargs):
                r(("call", name))
                return function(*args, **kwargs)

            return wrapper

        return decorate

    @named("outer")
    @named("inner")
    def f(x=r("default")):
        return x

    return f(), f(5)


def lambdas(r):
    compose = lambda f, g: lambda x: f(g(x))
    pick = lambda x: "a" if x else "b"
    both = lambda x, y: x and y or r("neither")
    return compose(lambda x: x + 1, lambda x: x * 2)(5), pick(0), both(0, 1), sorted([3, 1, 2], key=lambda v: -v)


def comprehensions(r):
    x = "outer"
    a = [x for x in range(3)]
    b = [(i, j) for i in range(4) if i % 2 for j in range(i) if j != 1]
    c = {x % 3 for x in range(7)}
    d = {r(k): r(v) for k, v in [(1, 2), (3, 4)]}
    e = [[y * x for y in range(x)] for x in range(4)]
    f = [x for x in [x for x in range(3)] if x]
    g = [a + b for a, *b in [(1, 2), (3, 4)] for b in b]
    h = [i for i in range(10) if i > 2 if i % 2 if not i == 5 or r(i)]
    k = [x := i for i in enumerate([1, 2])] if r(0) else None
    return x, a, b, c, d, e, f, g, h, k


def comprehension_walrus(r):
    total = 0
    a = [total := total + i for i in range(4)]
    b = [last for i in range(3) if (last := i * 2) > 1]
    any((found := n) > 2 for n in range(5))
    c = [[inner := (i, j) for i in range(2)] for j in range(2)]
    return a, total, b, last, found, c, inner


def comprehension_captures(r):
    fs = [lambda: i for i in range(3)]
    gs = [lambda i=i: i for i in range(3)]
    hs = [[lambda: (i, j) for i in range(2)] for j in range(2)]
    ks = {i: (lambda: i) for i in range(2)}
    ls = [list(i + k for k in range(2)) for i in range(3)]
    ms = [(lambda: (n := i + 1))() for i in range(2)]
    again = []
    for base in range(2):
        again.append([lambda: i + base for i in range(2)])
    return (
        [f() for f in fs],
        [g() for g in gs],
        [h() for row in hs for h in row],
        [k() for k in ks.values()],
        ls,
        ms,
        [f() for row in again for f in row],
    )


def comprehension_errors(r):
    try:
        [r(1 // i) for i in (1, 0, 2)]
    except ZeroDivisionError as e:
        r(str(e))
    try:
        [undefined_thing for _ in range(1)]
    except NameError as e:
        r(str(e))
    return [i for i in ()], r("end")


def generators(r):
    def count(n):
        r("start")
        for i in range(n):
            got = yield i
            r(("sent", got))
        return "result"

    def delegate():
        yield "first"
        how = yield from count(2)
        yield how
        yield (yield from [7, 8])
        yield

    g = count(3)
    out = [next(g), g.send("hello")]
    out.append(list(delegate()))
    out.append(list(x * y for x in range(3) if x for y in r([10, 20])))
    try:
        g.throw(ValueError("thrown"))
    except ValueError as e:
        out.append(e.args)
    h = count(0)
    try:
        next(h)
    except StopIteration as e:
        out.append(e.value)
    return out


def generator_laziness(r):
    xs = [1, 2]
    g = (r(x) + len(xs) for x in r(xs))
    xs.append(3)
    r("made")
    out = list(g)
    e = (r(i) for i in r([]))
    try:
        (i for i in r(5))
    except TypeError as err:
        r(str(err))
    return out, list(e), sum(i for i in range(4)), max((i for i in range(4)), key=lambda i: -i)


def generator_cleanup(r):
    def g():
        try:
            while True:
                try:
                    yield r("value")
                except ValueError as e:
                    r(e.args)
        finally:
            r("closed")

    it = g()
    next(it)
    it.throw(ValueError(1))
    it.close()
    return list(it)


def texts(r):
    x, w, name = 3.14159, 10, "n"
    return (
        f"plain",
        f"{x}",
        f"{x:.2f}",
        f"{x:{w}.{r(3)}}",
        f"{name!r:>{w}}",
        f"{name!s}{name!a}",
        f"{{{x}}}",
        f"{x=}",
        f"{ x + 1 = :.1f}",
        f"{name=!s}",
        f"a{1}bc{2}",
        rf"\d{x}\n",
        f"\t{x}\n\"{name}'",
        f"{'nested ' + f'{x}'}",
        f"",
        f"",
        f"{r(1)}{r(2)}{r(3)}",
        f"{[i for i in range(2)]}",
        f"{(lambda v: v)(1)}",
        f"{x!r:^{w}}|",
        f"""multi
line {x} "quoted" """,
        f"{x:%}",
        f"{'a' if x else 'b'}",
        f"\N{EM DASH}{x}",
        f"\x41\u00e9{x}",
    )


def text_errors(r):
    try:
        return f"{r(1)}{r('a'):d}{r(2)}"
    except ValueError as e:
        return str(e)


def walrus(r):
    if (n := r(5)) > 3:
        r(n)
    while (n := n - 1) > 2:
        r(n)
    xs = [y := r(1), y + 1, (z := y) + z]
    return n, xs, (a := 1, b := 2), a, b, [q := 5][0] + q


class Base:
    kind = "base"

    def __init__(self, r):
        self.r = r
        self.__secret = "base secret"

    def hello(self, x=1):
        return ("base", x, self.__secret)

    @classmethod
    def make(cls, r):
        return cls(r)

    @property
    def size(self):
        return 1


class Derived(Base):
    def __init__(self, r):
        super().__init__(r)
        self.__secret = "derived secret"
        self.r(self.__class__.__name__)

    def hello(self, x=2):
        return super().hello(x), super(Derived, self).hello(), self.__secret, __class__.__name__, self.__hidden()

    def __hidden(self, __parameter=1):
        __local = [__x for __x in range(2)]
        return __local, __parameter

    def captured(self):
        def inner():
            return super(Derived, self).hello(), self.size

        return inner()

    def rebound(self):
        other = self
        self = Base(self.r)
        try:
            return super().hello()
        except TypeError as e:
            return str(e).split(":")[0]
        finally:
            self = other

    def captured_super(self):
        def inner():
            return self

        return super().hello(), inner() is self

    def in_generator(self):
        return [__class__ for _ in range(1)], list(__class__.kind for _ in range(1))

    @classmethod
    def make(cls, r):
        return super().make(r).hello(r("made"))

    @property
    def size(self):
        return super().size + 1

    async def refused(self):
        pass


METHODS = (Derived.hello, Derived.captured, Derived.rebound, Derived.captured_super, Derived.in_generator)


def method_calls(r):
    d = Derived(r)
    return d.hello(3), d.captured(), d.size, Derived.make(r), d.captured_super(), d.rebound()


def global_in_nested(r):
    global shared_name
    shared_name = 1

    def f():
        global shared_name
        shared_name += 1

        def g():
            return shared_name

        return g()

    return f(), shared_name


def nested_global_function(r):
    global defined_globally

    def defined_globally():
        return "global function"

    return defined_globally.__qualname__, defined_globally()


def many_locals(r):
    a = b = c = d = 0
    for a in range(3):
        if a:
            b = a + c
        else:
            d = a
        c += b
    return a, b, c, d
