"""Programs about control flow: each public function takes a recorder `r` that notes its argument and returns it."""
# ruff: noqa

from contextlib import contextmanager


class Manager:
    def __init__(self, r, name, suppress=False, fail=""):
        self.r, self.name, self.suppress, self.fail = r, name, suppress, fail
        r(("init", name))

    def __enter__(self):
        self.r(("enter", self.name))
        if self.fail == "enter":
            raise KeyError(self.name)
        return self.name

    def __exit__(self, kind, value, trace):
        self.r(("exit", self.name, kind, repr(value)))
        if self.fail == "exit":
            raise IndexError(self.name)
        return self.suppress


class Truth:
    def __init__(self, r, value):
        self.r, self.value = r, value

    def __bool__(self):
        self.r(("bool", self.value))
        return self.value

    def __lt__(self, other):
        self.r(("lt", self.value))
        return Truth(self.r, self.value)


def boom(kind, *args):
    raise kind(*args)


def if_elif_else(r):
    out = []
    for x in range(5):
        if r(x) == 0:
            out.append("zero")
        elif r(x + 10) == 11:
            out.append("one")
        elif not r(x % 2):
            out.append("even")
        else:
            out.append("odd")
    return out


def while_else(r):
    n = 0
    while r(n) < 3:
        n += 1
    else:
        r("else")
    while n:
        n -= 1
        if n == 1:
            break
    else:
        r("never")
    return n


def while_true(r):
    n = 0
    while True:
        n += 1
        if n == 3:
            continue
        if n > 5:
            break
        r(n)
    return n


def for_else(r):
    for a in "ab":
        for b in "xyz":
            if b == "y":
                continue
            if a + b == "bz":
                break
            r(a + b)
        else:
            r(("else", a))
            continue
        break
    else:
        r("outer else")
    return a, b


def loop_variable_unbound(r):
    for x in []:
        pass
    return x


def loop_changes_list(r):
    xs = [1, 2, 3]
    for x in xs:
        r(x)
        if x < 3 and len(xs) < 8:
            xs.append(x + 1)
    return xs


def short_circuits(r):
    a = r(0) or r("b") or r("c")
    b = r(1) and r("") and r("d")
    c = (r(0) or r(2)) and r(3)
    d = (r(1) and r(0)) or r(4)
    e = not (r(1) and r(0))
    f = r(0) or r(0)
    g = not r([])
    h = r(0) or (r(1) and (r(0) or r(0)))
    return a, b, c, d, e, f, g, h


def truth_is_tested_once(r):
    t, f = Truth(r, True), Truth(r, False)
    x = (t and f) or (f and t) or f
    y = (f or t) and (t and f)
    r("z")
    z = not (t and f)
    if (t or f) and not (f or f):
        r("yes")
    if t and f or not f and t:
        r("also")
    while not t or f:
        pass
    return x is f, y is f, z


def truth_of_chains(r):
    t, f = Truth(r, True), Truth(r, False)
    a = t < f < t
    b = f < t < t
    if t < f < t:
        r("a")
    if not f < t < t:
        r("b")
    c = t < t and f
    d = f < t < t and t
    return a.value, b.value, c.value, d.value


def chained_comparison(r):
    a = r(1) < r(2) < r(3)
    b = r(1) < r(0) < r(3)
    c = 1 == 1.0 != 2 in [2, 3] not in [[]]
    if r(3) > r(2) > r(2):
        r("no")
    if not r(3) > r(2) > r(2):
        r("yes")
    while r(1) < r(2) < r(0):
        pass
    return a, b, c


def conditional_expressions(r):
    x = r("a") if r(1) else r("b")
    y = r("a") if not r(1) else r("b")
    z = (r(0) if r(1) else r(1)) if r(0) or r(1) else r(9)
    if r(1) if r(0) else r(2):
        r("taken")
    return x, y, z, [1, 2][0 if x == "a" else 1]


def constant_conditions(r):
    if 0:
        r("no")
    if None or "x":
        r("yes")
    if not 1:
        r("no")
    while 0:
        r("no")
    x = 1 if True else r("no")
    y = () and r("no")
    return x, y


def early_returns(r):
    def f(x):
        if x < 0:
            return "negative"
        for i in range(10):
            if i == x:
                return i
            while i:
                if i == 3:
                    return "three"
                break
        return

    return [f(x) for x in (-1, 0, 2, 5, 20)]


def try_except(r):
    out = []
    for kind in (ValueError, KeyError, IndexError, TypeError, None):
        try:
            r("body")
            if kind:
                raise kind("message")
            r("no error")
        except ValueError as e:
            out.append(("value", e.args))
        except (KeyError, IndexError) as e:
            out.append(("lookup", type(e)))
        except:
            out.append("any")
        else:
            out.append("else")
    return out


def try_no_match(r):
    try:
        try:
            boom(ValueError, "inner")
        except KeyError:
            r("no")
        else:
            r("no")
        r("no")
    except ValueError as e:
        r(str(e))
    boom(KeyError, "out")


def exception_in_else(r):
    try:
        pass
    except ValueError:
        r("no")
    else:
        raise ValueError("from else")


def name_is_unbound_after_handler(r):
    e = "before"
    try:
        boom(ValueError)
    except ValueError as e:
        r(type(e))
    return e


def name_deleted_in_handler(r):
    try:
        boom(ValueError)
    except ValueError as e:
        del e
        r("deleted")
    return 1


def name_captured_in_handler(r):
    try:
        boom(ValueError, 7)
    except ValueError as e:
        f = lambda: e.args
        r(f())
    return f()


def raise_again(r):
    try:
        try:
            boom(ValueError, 1)
        except ValueError:
            r("first")
            raise
    except ValueError as e:
        r(e.args)
        try:
            boom(KeyError, 2)
        except KeyError as inner:
            r(type(inner.__context__))
        raise


def raise_nothing(r):
    raise


def raise_nothing_after_handler(r):
    try:
        boom(ValueError)
    except ValueError:
        pass
    raise


def raise_from(r):
    try:
        try:
            boom(ValueError, "cause")
        except ValueError as e:
            raise KeyError("effect") from e
    except KeyError as e:
        r((repr(e.__cause__), repr(e.__context__), e.__suppress_context__))
        raise IndexError from None


def raise_bad(r):
    try:
        raise 5
    except TypeError as e:
        r(str(e))
    try:
        raise ValueError from 5
    except TypeError as e:
        r(str(e))


def contexts(r):
    try:
        try:
            boom(ValueError, "a")
        except ValueError:
            boom(KeyError, "b")
    except KeyError as e:
        r(repr(e.__context__))
    try:
        boom(IndexError, "c")
    except IndexError as e:
        r(repr(e.__context__))
    try:
        try:
            boom(ValueError, "d")
        finally:
            boom(KeyError, "e")
    except KeyError as e:
        r(repr(e.__context__))
        r(repr(e.__context__.__context__))


def context_after_break(r):
    for i in range(2):
        try:
            boom(ValueError, i)
        except ValueError:
            if i:
                break
            continue
    try:
        boom(KeyError)
    except KeyError as e:
        r(repr(e.__context__))


def exception_type_expression(r):
    try:
        try:
            boom(ValueError, 1)
        except r(5):
            r("no")
    except TypeError as e:
        r((str(e), repr(e.__context__)))
    try:
        boom(ValueError, 2)
    except (r(KeyError), r(IndexError)):
        r("no")
    except r(ValueError):
        r("yes")


def finally_ways(r):
    def run(way):
        for i in range(3):
            try:
                r((way, i))
                if way == "break" and i == 1:
                    break
                if way == "continue" and i == 1:
                    continue
                if way == "return" and i == 1:
                    return r("value")
                if way == "raise" and i == 1:
                    raise ValueError(i)
                r("end of body")
            finally:
                r(("finally", i))
        else:
            r("else")
        return "fell through"

    out = [run(w) for w in ("none", "break", "continue", "return")]
    try:
        run("raise")
    except ValueError as e:
        out.append(e.args)
    return out


def finally_overrides(r):
    def swallow():
        try:
            boom(ValueError)
        finally:
            return "swallowed"

    def override():
        try:
            return r("first")
        finally:
            return r("second")

    def keep(x):
        try:
            return x
        finally:
            x = "changed"

    def swallow_by_break():
        while True:
            try:
                boom(ValueError)
            finally:
                break
        return "broken"

    def swallow_by_continue():
        out = []
        for i in range(3):
            try:
                out.append(i)
                boom(ValueError)
            finally:
                continue
        return out

    return swallow(), override(), keep("kept"), swallow_by_break(), swallow_by_continue()


def nested_finally(r):
    for i in range(3):
        try:
            try:
                r(i)
                if i == 1:
                    continue
                if i == 2:
                    return "out"
            finally:
                r("inner")
                try:
                    boom(KeyError)
                except KeyError:
                    r("handled in finally")
        finally:
            r("outer")


def except_and_finally(r):
    def run(kind, again):
        try:
            if kind:
                raise kind(1)
            r("ok")
        except ValueError:
            r("value")
            if again:
                raise
            return "handled"
        else:
            r("else")
            return "else"
        finally:
            r("finally")
        return "end"

    out = [run(ValueError, False), run(None, False)]
    for kind, again in ((ValueError, True), (KeyError, False)):
        try:
            run(kind, again)
        except Exception as e:
            out.append(repr(e))
    return out


def return_in_handler_with_name(r):
    def f(e=None):
        for _ in range(2):
            try:
                boom(ValueError, 3)
            except ValueError as e:
                return e.args

    return f()


def with_statement(r):
    with Manager(r, "a") as a, Manager(r, "b") as b:
        r((a, b))
    with Manager(r, "c"):
        r("body")
    with Manager(r, "d") as (x), Manager(r, "e"):
        r(x)
    return x


def with_suppresses(r):
    with Manager(r, "a", suppress=True):
        r("body")
        boom(ValueError, 1)
        r("never")
    r("after")
    with Manager(r, "b"):
        boom(KeyError, 2)


def with_ways_out(r):
    def run(way):
        for i in range(3):
            with Manager(r, i, suppress=True):
                if way == 0:
                    break
                if way == 1 and i == 1:
                    continue
                if way == 2:
                    return r("value")
                r("end")
        return "end"

    return [run(w) for w in range(4)]


def with_failing(r):
    for where in ("enter", "exit"):
        try:
            with Manager(r, "outer"), Manager(r, "m", fail=where):
                r("body")
        except LookupError as e:
            r(repr(e))
    try:
        with Manager(r, "m", fail="exit"):
            boom(ValueError, "body")
    except IndexError as e:
        r(repr(e.__context__))


def with_wrong_object(r):
    try:
        with 5:
            r("no")
    except TypeError as e:
        r(str(e))

    class_ = type("OnlyEnter", (), {"__enter__": lambda self: r("entered")})
    try:
        with class_():
            r("no")
    except TypeError as e:
        r(str(e))


def with_target(r):
    d = {}
    with Manager(r, "ab") as (x, y):
        r((x, y))
    with Manager(r, "v") as d["k"]:
        r(d)
    try:
        with Manager(r, "abc", suppress=True) as (p, q):
            r("no")
    finally:
        r("finally")


def with_generator_manager(r):
    @contextmanager
    def manager(x):
        r(("in", x))
        try:
            yield x * 2
        except ValueError as e:
            r(("caught", e.args))
        finally:
            r(("out", x))

    with manager(2) as y:
        r(y)
    with manager(3) as y:
        boom(ValueError, y)
    with manager(4):
        boom(KeyError, 4)


def asserts(r):
    assert r(1)
    assert r(2) and not r(0), r("not evaluated")
    try:
        assert r(0)
    except AssertionError as e:
        r(e.args)
    assert r(1) < r(0), r("message")


def globals_and_imports(r):
    import math
    import os.path as path
    import collections.abc
    from math import pi as p, e

    global made_here
    made_here = r(math.floor(p))
    made_here += 1
    try:
        from math import nothing_like_this
    except ImportError as error:
        r(type(error))
    return made_here, path.join("a", "b"), collections.abc.Sized.__name__, e


def undefined_name(r):
    r("start")
    return undefined_variable


def unbound_local(r):
    if r(0):
        x = 1
    r("now")
    return x


def deleted_local(r):
    x, y = 1, 2
    del x
    r(y)
    try:
        return x
    except UnboundLocalError as e:
        r(str(e))
    del (y, [x])


def match_patterns(r):
    class_point = Point
    out = []
    subjects = [
        0,
        1,
        -1,
        1.5,
        2j,
        "text",
        b"bytes",
        None,
        True,
        [],
        [1],
        [1, 2],
        (1, 2, 3),
        [1, 2, 3, 4],
        {},
        {"k": 1},
        {"k": 2, "more": 3, "x": [4]},
        Point(0, 0),
        Point(0, 5),
        Point(5, 0),
        Point(7, 8),
        Color.RED,
        range(3),
        {1, 2},
        [["a", 1], ["b", 2]],
        "abc",
        {"t": "p", "v": {"w": [1, 2]}},
    ]
    for s in subjects:
        match s:
            case True:
                got = "true"
            case None:
                got = "none"
            case 0 | -1:
                got = "zero or minus one"
            case 2j | 1.5:
                got = "number"
            case Color.RED:
                got = "red"
            case str("text" as t):
                got = ("str", t)
            case bytes(b):
                got = ("bytes", b)
            case str():
                got = "other str"
            case int(n) if n > 5:
                got = ("big", n)
            case int():
                got = "int"
            case []:
                got = "empty"
            case [x]:
                got = ("one", x)
            case [["a", n], [_, m]]:
                got = ("nested", n, m)
            case [1, y]:
                got = ("two", y)
            case [1, *_, 4]:
                got = "one to four"
            case (first, *rest):
                got = ("sequence", first, rest)
            case {"k": 1}:
                got = "k is one"
            case {"t": "p", "v": {"w": [a, b]}}:
                got = ("deep", a, b)
            case {"k": k, **rest}:
                got = ("k", k, rest)
            case {}:
                got = "mapping"
            case Point(x=0, y=0):
                got = "origin"
            case Point(0, y):
                got = ("on y", y)
            case class_point.__class__():
                got = "class"
            case Point(x=x, y=0) | Point(0, x):
                got = ("on x", x)
            case Point() as p:
                got = ("point", p.x)
            case other:
                got = type(other)
        out.append(r(got))
    return out


class Point:
    __match_args__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y


class Color:
    RED = "red color"


def match_binds_late(r):
    a = "old"
    match [1, 2]:
        case [a, 3]:
            r("no")
        case [_, _] if r(a) == "new":
            r("no")
        case [*a] if a == [1]:
            r("no")
    r(a)
    match 5:
        case 6:
            r("no")
    return a


def match_copies(r):
    x = r(1)
    match x:
        case y:
            x = r(2)
    match x:
        case z if r(y) and z == 2:
            x = y
    return x, y, z


def match_errors(r):
    for attempt in range(3):
        try:
            match Point(1, 2):
                case Point(1, 2, 3) if attempt == 0:
                    r("no")
        except TypeError as e:
            r(str(e))
        try:
            match Point(1, 2):
                case Point(1, x=1):
                    r("no")
        except TypeError as e:
            r(str(e))
    try:
        kind = 5
        match 1:
            case int(a, b):
                r("no")
    except TypeError as e:
        r(str(e))


def match_in_loop(r):
    for command in ("go north", "stop", "go", "skip", "drop a b c", "end"):
        match command.split():
            case ["go", direction]:
                r(direction)
            case ["go"]:
                continue
            case ["drop", *things]:
                r(things)
            case ["stop" | "skip" as what]:
                r(what)
            case ["end"]:
                break
    else:
        r("no")
    return command
