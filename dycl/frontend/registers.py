"""Which registers an instruction reads and writes, and where control may go after it."""

from __future__ import annotations

from dycl.frontend.code import (
    Append,
    Binary,
    Build,
    BuildDict,
    BuildSlice,
    Call,
    Catch,
    Const,
    Delete,
    DeleteAttr,
    DeleteItem,
    EndCatch,
    ForIter,
    Format,
    GetIter,
    Import,
    ImportFrom,
    Instruction,
    JoinText,
    Jump,
    JumpIf,
    LoadAttr,
    LoadCell,
    LoadGlobal,
    LoadItem,
    LoadSpecial,
    MakeFunction,
    MatchException,
    Move,
    Raise,
    Register,
    Reraise,
    Return,
    StoreAttr,
    StoreCell,
    StoreGlobal,
    StoreItem,
    Unary,
    Unpack,
    Yield,
    ZeroSuper,
)


def reads(instruction: Instruction) -> tuple[Register, ...]:
    """The registers whose content the instruction needs."""
    match instruction:
        case Move(src=a) | StoreGlobal(src=a) | StoreCell(src=a) | Unary(operand=a) | Return(src=a) | Yield(src=a):
            return (a,)
        case GetIter(src=a) | Unpack(src=a) | ForIter(iterator=a) | JumpIf(cond=a) | Reraise(src=a) | EndCatch(saved=a):
            return (a,)
        case LoadAttr(obj=a) | LoadSpecial(obj=a) | DeleteAttr(obj=a) | ImportFrom(module=a):
            return (a,)
        case StoreAttr(obj=a, src=b) | LoadItem(obj=a, index=b) | DeleteItem(obj=a, index=b):
            return (a, b)
        case Binary(left=a, right=b) | MatchException(exc=a, type=b) | ZeroSuper(func=a, self=b):
            return (a, b)
        case StoreItem(obj=a, index=b, src=c) | BuildSlice(start=a, stop=b, step=c):
            return (a, b, c)
        case Build(items=items):
            return tuple(item.src for item in items)
        case Call(func=func, items=items):
            return (func, *(item.src for item in items))
        case BuildDict(items=pairs):
            return tuple(r for pair in pairs for r in pair if r is not None)
        case Format(src=a, spec=spec):
            return (a,) if spec is None else (a, spec)
        case JoinText(parts=parts):
            return parts
        case Append(target=a, src=b, key=key):
            return (a, b) if key is None else (a, b, key)
        case MakeFunction(defaults=defaults, keyword_defaults=pairs):
            return (*defaults, *(register for _, register in pairs))
        case Raise(exc=exc, cause=cause):
            return tuple(r for r in (exc, cause) if r is not None)
        case Delete(name=name, cell=cell):
            return () if cell else (name,)
        case Const() | LoadGlobal() | LoadCell() | Import() | Jump() | Catch():
            return ()


def writes(instruction: Instruction) -> tuple[Register, ...]:
    """The registers that the instruction binds or unbinds."""
    match instruction:
        case Unpack(dsts=dsts):
            return dsts
        case Catch(dst=dst, saved=saved):
            return (dst, saved)
        case Delete():
            return () if instruction.cell else (instruction.name,)
        case _:
            register: Register | None = getattr(instruction, "dst", None)
            return () if register is None else (register,)


def successors(index: int, instruction: Instruction) -> tuple[int, ...]:
    """Where control goes when the instruction at `index` succeeds, the next one first."""
    match instruction:
        case Jump(target=target):
            return (target,)
        case JumpIf(target=target) | ForIter(exhausted=target):
            return (index + 1, target)
        case Return() | Raise() | Reraise():
            return ()
        case _:
            return (index + 1,)


def may_raise(instruction: Instruction) -> bool:
    """Can the instruction go to its handler?"""
    return not isinstance(instruction, (Const, Jump, Catch, EndCatch, Return, StoreCell))
