"""Statements and expressions of Python under conditions of the data: control flow, exceptions, scopes, matching."""

from __future__ import annotations

from torch import nn

from tests.specialize.programs import Case


class TryParts(nn.Module):
    """A raise in each part of a try statement."""

    def forward(self, x):
        log = []
        try:
            try:
                log.append("body")
                if x[0, 0] > 0:
                    raise KeyError("body")
            except KeyError as error:
                log.append(("except", error.args))
                if x[0, 1] > 0:
                    raise ValueError("handler") from error
            else:
                log.append("else")
                if x[0, 2] > 0:
                    raise IndexError("else")
            finally:
                log.append("finally")
                if x[0, 3] > 1:
                    raise RuntimeError("finally")
        except (ValueError, IndexError) as error:
            cause = type(error.__cause__).__name__
            return x + 1, log, str(error), cause
        except RuntimeError as error:
            return x + 2, log, error.args
        return x, log


class FinallyOverrides(nn.Module):
    """`break`, `continue` and `return` inside finally."""

    def inner(self, x):
        for i in range(3):
            try:
                if x[0, i] > 0.5:
                    raise KeyError(i)
                if x[0, i] > 0:
                    return "positive", i
            finally:
                if x[0, 3] > 0:
                    continue
                if x[0, 3] > -0.5:
                    break
        else:
            return "else", -1
        return "broken", i

    def forward(self, x):
        try:
            return self.inner(x)
        except KeyError as error:
            return "key", error.args[0]


class WhileElse(nn.Module):
    """`while`/`else` with break and continue."""

    def forward(self, x):
        i = 0
        while i < 6:
            i += 1
            x = x * 1.3
            if x.sum() > 3:
                break
            if x.max() < 0.5:
                continue
            x = x - 0.1
        else:
            i = -i
        return x, i


class WalrusConditions(nn.Module):
    """Walrus in conditions and comprehensions."""

    def forward(self, x):
        kept = [y for v in x[0] if (y := v * 2) > 0]
        if (n := len(kept)) > 2 and (total := sum(kept)) > 3:
            return total, n
        return n, y


class UnboundLocal(nn.Module):
    """A variable that is bound on one side only."""

    def forward(self, x):
        if x[0, 0] > 0:
            y = x * 2
        try:
            return y
        except UnboundLocalError as error:
            return type(error).__name__, str(error)


class UnboundLocalLeaves(nn.Module):
    """The same error leaves the program."""

    def forward(self, x):
        if x[0, 0] > -0.3:
            y = x * 2
        return y


class DeletedLocal(nn.Module):
    """`del` on one side."""

    def forward(self, x):
        y = 1
        if x[0, 0] > 0:
            del y
        try:
            y += 1
        except UnboundLocalError:
            y = 10
        return x * y, y


class DeletedCell(nn.Module):
    """`del` of a captured variable on one side."""

    def forward(self, x):
        y = 1

        def read():
            return y

        if x[0, 0] > 0:
            del y
        try:
            return read()
        except NameError as error:
            return str(error)


class MatchShapes(nn.Module):
    """Structural matching of values made from run-time numbers."""

    def forward(self, x):
        k = int(x.argmax())
        message = {"kind": "a" if k < 2 else "b", "values": [k, x], "more": 1}
        match message:
            case {"kind": "a", "values": [0, y], **rest}:
                return y, rest
            case {"kind": "a", "values": [n, _]} if n > 0:
                return "guarded", n
            case {"kind": str(kind), "values": [*items, last]}:
                return kind, items, last
        return None


class MatchScalar(nn.Module):
    """Class patterns and captures on run-time numbers."""

    def forward(self, x):
        match x.sum().item(), x.argmax().item(), (x > 0).any().item():
            case float(value), 0 | 1 as index, True:
                return value, index
            case float(), int(index), bool(flag):
                return index, flag


class ChainedTernary(nn.Module):
    """Nested conditional expressions, chained comparisons of tensors, boolean values that are no bools."""

    def forward(self, x):
        a = "big" if x.sum() > 1 else "small" if x.sum() < -1 else "middle"
        b = x[0, 0] < x[0, 1] < x[0, 2]
        c = (x[0, 0].item() and x[0, 1].item()) or 7
        d = [] or (x[0, 3].item() > 0 and "yes")
        return a, b, c, d


class LoopElseNested(nn.Module):
    """Nested loops with else and a flag."""

    def forward(self, x):
        found = None
        for i in range(2):
            for j in range(2):
                if x[0, 2 * i + j] > 1.0:
                    found = (i, j)
                    break
            else:
                continue
            break
        return found, i, j


class RaiseInLoop(nn.Module):
    """Exceptions as control flow in a loop, with the exception kept."""

    def forward(self, x):
        errors = []
        for i in range(4):
            try:
                if x[0, i] > 0:
                    raise ValueError(i, float(x[0, i]))
                errors.append(None)
            except ValueError as error:
                errors.append(error.args)
        return errors


class BareRaise(nn.Module):
    """A bare raise in a function called by a handler; nested handling."""

    def again(self):
        raise

    def forward(self, x):
        try:
            try:
                if x[0, 0] > 0:
                    raise KeyError("a")
                raise IndexError("b")
            except LookupError:
                try:
                    if x[0, 1] > 0:
                        raise ValueError("c")
                except ValueError:
                    pass
                self.again()
        except KeyError as error:
            return "key", error.args
        except IndexError as error:
            return "index", error.args


class ErrorWithAttributes(Exception):
    """Carries values across frames, in attributes and a property."""

    def __init__(self, value, *, code):
        super().__init__("stopped", code)
        self.value = value
        self.code = code
        self.trail = []

    @property
    def doubled(self):
        return self.value * 2

    def __str__(self):
        return f"stopped with {self.code}"


class ExceptionAcrossFrames(nn.Module):
    """Each frame adds to the exception on its way."""

    def low(self, x, depth):
        if x.sum() > depth:
            raise ErrorWithAttributes(x, code=depth)
        return x + 1

    def middle(self, x, depth):
        try:
            return self.low(x, depth)
        except ErrorWithAttributes as error:
            error.trail.append(depth)
            if x[0, 0] > 0:
                error.code += 10
            raise

    def forward(self, x):
        try:
            for depth in (2, 1, 0):
                x = self.middle(x, depth)
        except ErrorWithAttributes as error:
            return error.doubled, error.code, error.trail, str(error), error.args
        return x


class CustomErrorLeaves(nn.Module):
    """An exception with a message of run-time numbers leaves."""

    def forward(self, x):
        v = x.sum().item()
        if v > 2:
            raise ValueError(f"sum={v:.3f} > {2!r}", v)
        assert v > -2, f"{v:+.2e} is low"
        assert v > -1.5
        return v


class KeyErrorOfData(nn.Module):
    """A dictionary asked for a run-time key."""

    def forward(self, x):
        table = {0: "zero", 1: "one", 2: "two"}
        try:
            return table[x.argmax().item()]
        except KeyError as error:
            return "missing", error.args[0]


class KeyErrorLeaves(nn.Module):
    """The same error leaves the program with the number in it."""

    def forward(self, x):
        return {0: "zero", 1: "one", 2: "two"}[int(x.argmax())]


class IndexErrorLeaves(nn.Module):
    """A list and a tuple asked for a run-time index out of range."""

    def forward(self, x):
        k = x.argmax().item()
        if x[0, 0] > 0:
            return [1, 2, 3][k]
        return (1, 2)[-k]


class DivisionByZero(nn.Module):
    """Division errors of run-time numbers, caught and not."""

    def forward(self, x):
        k = int(x.argmax()) - 1
        try:
            a = 10 // k
        except ZeroDivisionError as error:
            a = str(error)
        try:
            b = 1 / k
        except ZeroDivisionError as error:
            b = error.args
        try:
            c = 7 % k
        except ZeroDivisionError as error:
            c = error.args
        try:
            d = divmod(7, k)
        except ZeroDivisionError as error:
            d = error.args
        return a, b, c, d


class DivisionOfFloats(nn.Module):
    """The same for floats."""

    def forward(self, x):
        k = float(int(x.argmax()) - 1)
        out = []
        for f in (lambda: 1 / k, lambda: 1 // k, lambda: 1 % k, lambda: divmod(1, k), lambda: 0.0**k):
            try:
                out.append(f())
            except ZeroDivisionError as error:
                out.append(error.args)
        return out


class DivisionLeaves(nn.Module):
    """A division by zero that nobody catches, after a write to the model."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        k = int(x.argmax())
        r = 12 // k
        self.calls += 100
        return r


class NonlocalNested(nn.Module):
    """nonlocal through two levels, changed on one side."""

    def forward(self, x):
        count, history = 0, []

        def outer(step):
            def inner():
                nonlocal count
                count += step
                history.append(count)
                return count

            return inner

        one, two = outer(1), outer(2)
        if x[0, 0] > 0:
            one()
        if x[0, 1] > 0:
            two()
        one()
        return count, history


class LateBinding(nn.Module):
    """Closures made in a loop see the last value; defaults the value of their time."""

    def forward(self, x):
        late, early = [], []
        for i in range(3):
            if x[0, i] > 0:
                late.append(lambda: i)
                early.append(lambda i=i: i * 10)
        return [f() for f in late], [f() for f in early]


class MutableDefault(nn.Module):
    """A default made in the run is shared by the calls of one run."""

    def forward(self, x):
        def push(v, to=[]):  # noqa: B006
            to.append(v)
            return to

        if x[0, 0] > 0:
            push(1)
        first = push(2)
        return push(3), first is push(4)


class StarArguments(nn.Module):
    """*args, **kwargs, keyword only, unpacking of run-time parts."""

    def take(self, a, /, b=2, *rest, c, d=4, **more):
        return a, b, rest, c, d, more

    def forward(self, x):
        values = [x[0, 0], 5] if x[0, 0] > 0 else [x[0, 1]]
        named = {"d": 1, "z": 2} if x[0, 1] > 0 else {"y": 3}
        return self.take(*values, *(7, 8), c=9, **named)


class WrongArguments(nn.Module):
    """TypeErrors of a call under a condition."""

    def take(self, a, b, *, c):
        return a + b + c

    def forward(self, x):
        try:
            if x[0, 0] > 0:
                return self.take(1, 2, 3)
            if x[0, 1] > 0:
                return self.take(1, c=3)
            return self.take(1, 2, d=3)
        except TypeError as error:
            return str(error)


class StaticRecursion(nn.Module):
    """Recursion of a depth that is known, with early returns."""

    def descend(self, x, depth):
        if depth == 0:
            return x, 0
        if x.sum() > 1:
            return x - 1, depth
        left, d = self.descend(x + 0.3, depth - 1)
        return left * 2, d + 1 if x[0, 0] > 0 else d

    def forward(self, x):
        return self.descend(x, 4)


class AugmentedTargets(nn.Module):
    """Augmented assignment to every kind of target."""

    def forward(self, x):
        box = {"n": 1, "l": [1]}
        alias = box["l"]
        numbers = [1, 2, 3]
        if x[0, 0] > 0:
            box["n"] += 2
            box["l"] += [2]
            numbers[-1] *= 5
            numbers[:2] = [9]
        text = "a"
        text += "b" if x[0, 1] > 0 else "c"
        text *= 2
        pair = (1,)
        pair += (2,)
        return box, alias, numbers, text, pair, alias is box["l"]


class StarUnpacking(nn.Module):
    """Unpacking with stars, nested, wrong lengths caught."""

    def forward(self, x):
        items = [v for v in x[0].tolist() if v > 0]
        try:
            first, *middle, last = items
        except ValueError as error:
            return str(error)
        (a, b), [c, *d] = (1, 2), items
        return first, middle, last, a, b, c, d


class UnpackingErrors(nn.Module):
    """Too many and too few values."""

    def forward(self, x):
        items = [v for v in x[0].tolist() if v > 0]
        try:
            a, b = items
            return a, b
        except ValueError as error:
            return error.args


class LoopOnFlag(nn.Module):
    """A loop that begins with a question about a run-time flag: the answer must not be forgotten at once."""

    def forward(self, x):
        if x[0, 3] > 0:
            x = x + 1
        flag = (x[0, 0] > 0).item()
        n = 0
        while flag:
            n += 1
            if n >= 3:
                break
            x = x - 1
            if x[0, 1] > 0:
                flag = (x[0, 0] > 0).item()
        return n


class FlagAfterJoin(nn.Module):
    """The same flag asked at two joins."""

    def forward(self, x):
        flag = (x[0, 0] > 0).item()
        y = 1 if x[0, 1] > 0 else 2
        while flag:
            return y
        if x[0, 2] > 0:
            y = 5
        if flag:
            return 7
        return y * 3


class GlobalConstants(nn.Module):
    """Module constants and a condition on them."""

    def forward(self, x):
        if LIMITS["low"] < x.sum().item() < LIMITS["high"]:
            return NAMES[1]
        return NAMES[x.argmax().item() % 2]


LIMITS = {"low": -1.0, "high": 1.0}
NAMES = ("even", "odd")

CASES = [
    Case(found)
    for found in list(globals().values())
    if isinstance(found, type) and issubclass(found, nn.Module) and found.__module__ == __name__
]
