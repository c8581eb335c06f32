"""Characters of a text with run-time numbers in it: its methods, comparisons and truth are operations of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dycl.ir.hostops import TEXT_METHODS, TEXT_SPLITTERS
from dycl.ir.values import Ref, ScalarKind
from dycl.passes.specialize.templates import Number
from dycl.passes.specialize.values import KIND_TYPES, RuntimeList, Scalar, Text, TextPart

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})


def whole(machine: Machine, text: Any) -> Any:
    """The text as one run-time value; anything else as it is."""
    if not isinstance(text, Text):
        return text
    operand = machine.text_operand(text)
    return Scalar(ScalarKind.STR, operand.id) if isinstance(operand, Ref) else operand.value  # type: ignore[union-attr]


def text_of_list(machine: Machine, items: RuntimeList) -> Text:
    """The text of a list of run-time length that holds numbers and texts."""
    return machine.text_of(machine.list_number("repr", ScalarKind.STR, Ref(items.vid)))


def number_of_text(machine: Machine, name: str, text: Any) -> Any:
    """`int(text)` or `float(text)`; what is no number is a decision where the model would notice."""
    found = whole(machine, text)
    is_asked = isinstance(found, Scalar) and machine.may_catch()
    if is_asked and not machine.truth(machine.host("eq", machine.host("error_of", name, found), 0)):
        raise ValueError(Text.of(TextPart(machine.host("error_text", name, found), "", "")))
    return machine.host(name, found)


def _wrapped(value: Any) -> Any:
    return Text.of(TextPart(value, "", "")) if isinstance(value, Scalar) and value.kind is ScalarKind.STR else value


def is_text_method(function: Any, args: tuple[Any, ...]) -> bool:
    """Whether a call is of a method of `str` that the host can do, on a text that only the run knows."""
    owner = getattr(function, "__self__", None)
    if not isinstance(owner, str):
        return False
    name = function.__name__
    if name == "join":
        return len(args) == 1 and type(args[0]) in (list, tuple) and any(isinstance(item, Text) for item in args[0])
    is_known = name in TEXT_METHODS or name in TEXT_SPLITTERS
    return is_known and any(isinstance(item, Text) for item in (owner, *args))


def call_text_method(machine: Machine, function: Any, args: tuple[Any, ...]) -> Any:
    """The result of such a method."""
    owner = function.__self__
    if function.__name__ == "join":
        return _joined(owner, args[0])
    if function.__name__ in TEXT_SPLITTERS:
        machine.keep_text(owner)
        if function.__name__ != "splitlines" and args and isinstance(args[0], str) and not machine.truth_of(args[0]):
            raise ValueError("empty separator")
        operands = [machine.operand(item) for item in (owner, *args)]
        return machine.new_list(f"str.{function.__name__}", Number(ScalarKind.STR), *operands)
    return _wrapped(machine.host(f"str.{function.__name__}", *[whole(machine, item) for item in (owner, *args)]))


def _joined(separator: str, items: Any) -> Any:
    if not all(isinstance(item, str) for item in items):
        index, wrong = next((index, item) for index, item in enumerate(items) if not isinstance(item, str))
        raise TypeError(f"sequence item {index}: expected str instance, {type(wrong).__name__} found")
    return Text.of(*[part for item in items for part in (separator, item)][1:])


def compare_texts(machine: Machine, op: str, left: Any, right: Any) -> Any:
    """left == right, and so on, for texts one of which only the run knows."""
    if op in ("eq", "ne") and (found := _as_numbers(machine, op, left, right)) is not None:
        return found
    return machine.host(op, whole(machine, left), whole(machine, right))


def _as_numbers(machine: Machine, op: str, left: Any, right: Any) -> Any:
    """`f"e{n}" == "e3"` as `n == 3`: what the path knows of the number decides it. None if that is another question."""
    text, known = (left, right) if isinstance(left, Text) else (right, left)
    numbers = [(place, part) for place, part in enumerate(text.parts) if isinstance(part, TextPart)]
    if isinstance(known, Text) or len(numbers) != 1:
        return None
    place, part = numbers[0]
    if part.value.kind is not ScalarKind.INT or part.spec not in ("", "d"):
        return None
    before, after = (Text.of(*parts) for parts in (text.parts[:place], text.parts[place + 1 :]))
    digits = known[len(before) : len(known) - len(after)]
    if known != before + digits + after or not _is_written_number(digits):
        return op == "ne"
    return machine.host(op, part.value, int(digits))


def _is_written_number(digits: str) -> bool:
    """Whether Python writes a whole number like this."""
    return digits.removeprefix("-").isdecimal() and digits == str(int(digits))


def is_text_comparison(op: str, left: Any, right: Any) -> bool:
    """Whether both are texts, and one is known at run time only."""
    both = isinstance(left, str) and isinstance(right, str)
    return op in COMPARISONS and both and (isinstance(left, Text) or isinstance(right, Text))


def contains_text(machine: Machine, container: str, element: str) -> Any:
    """element in container"""
    return machine.host("str.__contains__", whole(machine, container), whole(machine, element))


def truth_of_text(machine: Machine, text: Text) -> bool:
    """Whether it has any characters."""
    if any(isinstance(part, str) and part for part in text.parts):
        return True
    if any(isinstance(part, TextPart) and part.value.kind is not ScalarKind.STR for part in text.parts):
        return True  # a number is never written as nothing
    return machine.truth(compare_texts(machine, "ne", text, ""))


def length_of_text(machine: Machine, text: Text) -> Any:
    """len(text)"""
    return machine.host("str.__len__", whole(machine, text))


def item_of_text(machine: Machine, text: Text, index: Any) -> Text:
    """text[index] and text[start:stop:step]"""
    machine.keep_text(text)
    number = whole(machine, text)
    if isinstance(index, slice):
        bounds = [None if part is None else machine.list_index(part) for part in (index.start, index.stop, index.step)]
        if bounds[2] is not None and not machine.truth(machine.host("ne", bounds[2], 0)):
            raise ValueError("slice step cannot be zero")
        name, operands = ("list_slice", bounds[:2]) if bounds[2] is None else ("list_slice_by", bounds)
        cut = machine.list_number(name, ScalarKind.STR, machine.operand(number), *map(machine.operand, operands))
        return machine.text_of(cut)
    if not isinstance(index, (int, Scalar)) or getattr(index, "kind", None) is ScalarKind.FLOAT:
        of = KIND_TYPES[index.kind] if isinstance(index, Scalar) else str if isinstance(index, str) else type(index)
        raise TypeError(f"string indices must be integers, not {of.__name__!r}")
    place, length = machine.list_index(index), length_of_text(machine, text)
    position = place if machine.truth(machine.host("ge", place, 0)) else machine.host("add", place, length)
    if not (machine.truth(machine.host("ge", position, 0)) and machine.truth(machine.host("lt", position, length))):
        raise IndexError("string index out of range")
    args = (machine.operand(number), machine.operand(position))
    return machine.text_of(machine.list_number("list_get", ScalarKind.STR, *args))


def characters(machine: Machine, text: Text) -> RuntimeList:
    """The characters of a text, one by one."""
    return machine.new_list("list_copy", Number(ScalarKind.STR), machine.operand(text))


def choose_key(machine: Machine, table: dict[Any, Any], text: Text) -> str:
    """The key that the text is on this path: one branch for each that is a text."""
    for key in table:
        if type(key) is str and machine.truth(compare_texts(machine, "eq", text, key)):
            return key
    raise KeyError(text)
