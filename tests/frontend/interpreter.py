"""A concrete interpreter of lowered code: the oracle that says what a `Code` means.

`interpreted(function)` is a function that runs the lowered code natively; functions made inside run interpreted, too.
Before each instruction the registers that are not live are dropped, so a wrong `live` table shows as a missing name.
"""

from __future__ import annotations

import builtins
import operator
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dycl.frontend import code as c
from dycl.frontend.lower import lower_function

_running: list[Frame] = []


class Cell:
    """A captured variable; `content` is missing while it is empty."""

    content: Any


class NativeCell:
    """A cell of a native closure."""

    def __init__(self, cell: types.CellType) -> None:
        object.__setattr__(self, "cell", cell)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.cell.cell_contents
        except ValueError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self.cell.cell_contents = value

    def __delattr__(self, name: str) -> None:
        del self.cell.cell_contents


@dataclass
class Frame:
    """One activation."""

    code: c.Code
    namespace: dict[str, Any]
    registers: dict[str, Any]
    cells: dict[str, Any]
    index: int = 0
    handled: BaseException | None = None
    ended: bool = False


def interpreted(function: types.FunctionType) -> Callable[..., Any]:
    """The function, run by the interpreter."""
    lowered = lower_function(function)
    cells = {
        name: NativeCell(cell)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    }
    return make_function(lowered, function.__globals__, cells, function.__defaults__, function.__kwdefaults__)


def make_function(
    code: c.Code,
    namespace: dict[str, Any],
    cells: dict[str, Any],
    defaults: tuple[Any, ...] | None,
    keyword_defaults: dict[str, Any] | None,
) -> Callable[..., Any]:
    """A callable for the code; a real Python function, so that it binds as a method."""
    signature = _binder(code, defaults, keyword_defaults)

    def run(*args: Any, **kwargs: Any) -> Any:
        bound = signature(*args, **kwargs)
        registers = dict(zip(code.parameters.names, bound, strict=True))
        frame_cells = {name: Cell() for name in code.cell_names} | {name: cells[name] for name in code.free_names}
        frame = Frame(code, namespace, registers, frame_cells)
        return generate(frame) if code.is_generator else execute(frame)

    run.__name__, run.__qualname__ = code.name, code.qualname
    return run


def _binder(code: c.Code, defaults: Any, keyword_defaults: Any) -> Callable[..., tuple[Any, ...]]:
    """A native function with the same signature that returns its arguments: CPython's own binding and messages."""
    p = code.parameters
    if p.names == (".0",):
        return lambda iterator: (iterator,)
    parts = [*p.positional_only, *(["/"] if p.positional_only else []), *p.positional]
    if p.var_positional:
        parts.append("*" + p.var_positional)
    elif p.keyword_only:
        parts.append("*")
    parts += p.keyword_only
    if p.var_keyword:
        parts.append("**" + p.var_keyword)
    space: dict[str, Any] = {}
    exec(f"def binder({', '.join(parts)}): return ({''.join(name + ', ' for name in p.names)})", space)
    binder = space["binder"]
    binder.__defaults__ = tuple(defaults) if defaults else None
    binder.__kwdefaults__ = dict(keyword_defaults) if keyword_defaults else None
    binder.__qualname__ = code.qualname
    binder.__code__ = binder.__code__.replace(co_name=code.name, co_qualname=code.qualname)
    return binder  # type: ignore[no-any-return]


def execute(frame: Frame) -> Any:
    """Run a frame to its end."""
    for _ in steps(frame):
        raise AssertionError("a yield in a function that is not a generator")
    return frame.registers["return"]


def generate(frame: Frame) -> Iterator[Any]:
    """Run a frame as a generator."""
    yield from steps(frame)
    return frame.registers["return"]


def steps(frame: Frame) -> Iterator[Any]:
    """Run the frame; each yielded value is one of its `Yield`s."""
    code = frame.code
    while not frame.ended:
        index = frame.index
        instruction = code.instructions[index]
        live = code.live[index]
        for name in [n for n in frame.registers if n not in live]:
            del frame.registers[name]
        try:
            if isinstance(instruction, c.Yield):
                frame.registers[instruction.dst] = yield frame.registers[instruction.src]
                frame.index += 1
            else:
                _running.append(frame)
                try:
                    step(frame, instruction)
                finally:
                    _running.pop()
        except GeneratorExit as error:
            go_to_handler(frame, index, error)
        except BaseException as error:
            if isinstance(error, AssertionError) and str(error).startswith("interpreter:"):
                raise
            set_context(frame, error, instruction)
            go_to_handler(frame, index, error)


def set_context(frame: Frame, error: BaseException, instruction: c.Instruction) -> None:
    if isinstance(instruction, c.Reraise) or error.__context__ is not None or error is frame.handled:
        return
    if frame.handled is not None:
        error.__context__ = frame.handled


def go_to_handler(frame: Frame, index: int, error: BaseException) -> None:
    handler = frame.code.handlers[index]
    if handler is None:
        frame.ended = True
        raise error
    assert isinstance(frame.code.instructions[handler], c.Catch), "interpreter: a handler starts with Catch"
    catch = frame.code.instructions[handler]
    for name in [n for n in frame.registers if n not in frame.code.live[handler]]:
        del frame.registers[name]
    frame.registers[catch.dst] = error  # type: ignore[union-attr]
    frame.registers[catch.saved] = frame.handled  # type: ignore[union-attr]
    frame.handled = error
    frame.index = handler + 1


def read(frame: Frame, register: str) -> Any:
    assert register in frame.registers, f"interpreter: {register} is not live at {frame.index} of {frame.code.qualname}"
    return frame.registers[register]


_OPERATORS = {"in": lambda a, b: a in b, "not_in": lambda a, b: a not in b}


def step(frame: Frame, i: c.Instruction) -> None:
    r, after = frame.registers, frame.index + 1
    match i:
        case c.Const():
            r[i.dst] = i.value
        case c.Move():
            if i.src not in r:
                name = i.src.split("%")[0]
                raise UnboundLocalError(
                    f"cannot access local variable '{name}' where it is not associated with a value"
                )
            r[i.dst] = r[i.src]
        case c.LoadGlobal():
            r[i.dst] = load_global(frame.namespace, i.name)
        case c.StoreGlobal():
            frame.namespace[i.name] = read(frame, i.src)
        case c.LoadCell():
            r[i.dst] = load_cell(frame, i.name)
        case c.StoreCell():
            frame.cells[i.name].content = read(frame, i.src)
        case c.Delete():
            delete(frame, i)
        case c.LoadAttr():
            r[i.dst] = getattr(read(frame, i.obj), i.name)
        case c.LoadSpecial():
            r[i.dst] = special(read(frame, i.obj), i.name)
        case c.StoreAttr():
            setattr(read(frame, i.obj), i.name, read(frame, i.src))
        case c.DeleteAttr():
            delattr(read(frame, i.obj), i.name)
        case c.LoadItem():
            r[i.dst] = read(frame, i.obj)[read(frame, i.index)]
        case c.StoreItem():
            read(frame, i.obj)[read(frame, i.index)] = read(frame, i.src)
        case c.DeleteItem():
            del read(frame, i.obj)[read(frame, i.index)]
        case c.Unary():
            r[i.dst] = getattr(operator, i.op)(read(frame, i.operand))
        case c.Binary():
            function = _OPERATORS.get(i.op) or getattr(operator, i.op)
            r[i.dst] = function(read(frame, i.left), read(frame, i.right))
        case c.Build():
            r[i.dst] = build(frame, i)
        case c.BuildDict():
            r[i.dst] = build_dict(frame, i)
        case c.BuildSlice():
            r[i.dst] = slice(read(frame, i.start), read(frame, i.stop), read(frame, i.step))
        case c.Format():
            r[i.dst] = format_field(frame, i)
        case c.JoinText():
            r[i.dst] = "".join(read(frame, p) for p in i.parts)
        case c.Append():
            append(frame, i)
        case c.Call():
            r[i.dst] = call(frame, i)
        case c.ZeroSuper():
            r[i.dst] = zero_super(frame, i)
        case c.MakeFunction():
            defaults = tuple(read(frame, d) for d in i.defaults)
            named = {name: read(frame, d) for name, d in i.keyword_defaults}
            r[i.dst] = make_function(i.code, frame.namespace, frame.cells, defaults, named)
        case c.Import():
            r[i.dst] = __import__(i.name, frame.namespace, None, i.fromlist, i.level)
        case c.ImportFrom():
            r[i.dst] = import_from(read(frame, i.module), i.name)
        case c.Unpack():
            r.update(zip(i.dsts, unpack(read(frame, i.src), len(i.dsts), i.star), strict=True))
        case c.GetIter():
            r[i.dst] = iter(read(frame, i.src))
        case c.ForIter():
            iterator = read(frame, i.iterator)
            try:
                r[i.dst] = type(iterator).__next__(iterator)
            except StopIteration as end:
                after = i.exhausted
                if i.value is not None:
                    r[i.value] = end.value
        case c.Jump():
            after = i.target
        case c.JumpIf():
            after = i.target if bool(read(frame, i.cond)) is i.want else after
        case c.Return():
            frame.registers["return"] = read(frame, i.src)
            frame.ended = True
        case c.Raise():
            raise_(frame, i)
        case c.EndCatch():
            frame.handled = read(frame, i.saved)
        case c.Reraise():
            raise read(frame, i.src)
        case c.MatchException():
            r[i.dst] = match_exception(read(frame, i.exc), read(frame, i.type))
        case _:
            raise AssertionError(f"interpreter: unexpected {i}")
    frame.index = after


def load_global(namespace: dict[str, Any], name: str) -> Any:
    if name in namespace:
        return namespace[name]
    if hasattr(builtins, name):
        return getattr(builtins, name)
    raise NameError(f"name '{name}' is not defined")


def load_cell(frame: Frame, name: str) -> Any:
    cell = frame.cells[name]
    if not hasattr(cell, "content"):
        raise empty_cell(frame, name)
    return cell.content


def empty_cell(frame: Frame, name: str) -> NameError:
    if name in frame.code.cell_names:
        return UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value")
    return NameError(f"cannot access free variable '{name}' where it is not associated with a value in enclosing scope")


def delete(frame: Frame, i: c.Delete) -> None:
    if i.cell:
        if not hasattr(frame.cells[i.name], "content"):
            raise empty_cell(frame, i.name)
        del frame.cells[i.name].content
    elif i.name in frame.registers:
        del frame.registers[i.name]
    else:
        raise UnboundLocalError(f"cannot access local variable '{i.name}' where it is not associated with a value")


def special(obj: Any, name: str) -> Any:
    for kind in type(obj).__mro__:
        if name in vars(kind):
            found = vars(kind)[name]
            return found.__get__(obj, type(obj)) if hasattr(type(found), "__get__") else found
    missed = " (missed __exit__ method)" if name == "__exit__" else ""
    raise TypeError(f"'{type(obj).__name__}' object does not support the context manager protocol{missed}")


def build(frame: Frame, i: c.Build) -> Any:
    values: list[Any] = []
    for item in i.items:
        value = read(frame, item.src)
        if item.star:
            try:
                iter(value)
            except TypeError:
                if hasattr(value, "__iter__"):
                    raise
                raise TypeError(f"Value after * must be an iterable, not {type(value).__name__}") from None
            values.extend(value)
        else:
            values.append(value)
    return {"tuple": tuple, "list": list, "set": set}[i.kind.value](values)


def build_dict(frame: Frame, i: c.BuildDict) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for key, value in i.items:
        if key is None:
            mapping = read(frame, value)
            if not hasattr(mapping, "keys"):
                raise TypeError(f"'{type(mapping).__name__}' object is not a mapping")
            result.update(mapping)
        else:
            result[read(frame, key)] = read(frame, value)
    return result


def format_field(frame: Frame, i: c.Format) -> str:
    value = read(frame, i.src)
    value = {"": lambda v: v, "s": str, "r": repr, "a": ascii}[i.conversion](value)
    return format(value, "" if i.spec is None else read(frame, i.spec))


def append(frame: Frame, i: c.Append) -> None:
    target, value = read(frame, i.target), read(frame, i.src)
    if i.key is not None:
        target[read(frame, i.key)] = value
    elif isinstance(target, set):
        target.add(value)
    else:
        target.append(value)


def call(frame: Frame, i: c.Call) -> Any:
    """Leave binding and messages to CPython: the source of the same call, run on the same operands."""
    names = [f"a{n}" for n in range(len(i.items))]
    text = ", ".join(
        f"{item.keyword}={name}" if item.keyword else item.star + name
        for item, name in zip(i.items, names, strict=True)
    )
    space = dict(zip(names, (read(frame, item.src) for item in i.items), strict=True))
    function = read(frame, i.func)
    if not any(item.star or item.keyword for item in i.items):
        return function(*space.values())
    return eval(f"function({text})", {"function": function}, space)


def zero_super(frame: Frame, i: c.ZeroSuper) -> Any:
    function = read(frame, i.func)
    return function(load_cell(frame, "__class__"), read(frame, i.self)) if function is super else function()


def import_from(module: Any, name: str) -> Any:
    space = {"module": module}
    try:
        return getattr(space["module"], name)
    except AttributeError:
        import sys

        found = sys.modules.get(f"{module.__name__}.{name}")
        if found is not None:
            return found
        origin = getattr(module, "__file__", None) or "unknown location"
        raise ImportError(f"cannot import name {name!r} from {module.__name__!r} ({origin})") from None


def unpack(value: Any, count: int, star: int) -> list[Any]:
    """Unpack natively, for CPython's own messages."""
    names = [f"a{n}" for n in range(count)]
    targets = "".join(("*" if n == star else "") + name + ", " for n, name in enumerate(names))
    space = {"value": value}
    exec(f"[{targets}] = value", space)
    return [space[name] for name in names]


def raise_(frame: Frame, i: c.Raise) -> None:
    if i.exc is None:
        for active in reversed(_running):  # a caller's, if this frame handles none
            if active.handled is not None:
                raise active.handled
        raise RuntimeError("No active exception to reraise")
    if i.cause is None:
        raise read(frame, i.exc)
    raise read(frame, i.exc) from read(frame, i.cause)


def match_exception(error: BaseException, kind: Any) -> bool:
    for one in kind if isinstance(kind, tuple) else (kind,):
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise TypeError("catching classes that do not inherit from BaseException is not allowed")
    return isinstance(error, kind)
