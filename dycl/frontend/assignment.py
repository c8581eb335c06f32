"""Lowering of everything that binds: assignment, augmented and annotated assignment, unpacking, `del`, imports."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from dycl.frontend.builder import FunctionBuilder, lowers_statement
from dycl.frontend.code import (
    Binary,
    DeleteAttr,
    DeleteItem,
    Import,
    ImportFrom,
    LoadAttr,
    LoadItem,
    Register,
    StoreAttr,
    StoreItem,
    Unpack,
)
from dycl.frontend.expressions import augmented, lower_index


def assign(f: FunctionBuilder, target: cst.CSTNode, value: Register, *, last_use: bool = True) -> None:
    """Bind a target to the value; `last_use`: nobody reads the register `value` afterwards."""
    match target:
        case cst.Name(value=name):
            f.store(name, value, f.loc(target), last_use=last_use)
        case cst.Attribute(value=owner, attr=attr):
            obj = f.expression(owner)
            f.emit(StoreAttr(obj=obj, name=f.scope.mangle(attr.value), src=value, loc=f.loc(target)))
        case cst.Subscript(value=owner):
            obj = f.expression(owner)
            f.emit(StoreItem(obj=obj, index=lower_index(f, target), src=value, loc=f.loc(target)))
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            _unpack(f, target, elements, value)
        case _:
            raise f.unsupported(target, f"assignment to {type(target).__name__}", "assign to a variable first")


def _unpack(f: FunctionBuilder, target: cst.CSTNode, elements: Sequence[cst.BaseElement], value: Register) -> None:
    star = next((i for i, e in enumerate(elements) if isinstance(e, cst.StarredElement)), -1)
    direct = [f.local_register(e.value.value) if isinstance(e.value, cst.Name) else None for e in elements]
    names = [register for register in direct if register is not None]
    if len(names) == len(elements) and len(set(names)) == len(names):
        f.emit(Unpack(dsts=tuple(names), src=value, star=star, loc=f.loc(target)))
        return
    parts = [f.temp() for _ in elements]
    f.emit(Unpack(dsts=tuple(parts), src=value, star=star, loc=f.loc(target)))
    for element, part in zip(elements, parts, strict=True):
        assign(f, element.value, part)


@lowers_statement(cst.Assign)
def _lower_assign(f: FunctionBuilder, node: cst.Assign) -> None:
    value = f.expression(node.value)
    for target in node.targets:
        assign(f, target.target, value, last_use=len(node.targets) == 1)


@lowers_statement(cst.AnnAssign)
def _lower_annotated(f: FunctionBuilder, node: cst.AnnAssign) -> None:
    if node.value is not None:
        assign(f, node.target, f.expression(node.value))
    elif isinstance(node.target, cst.Attribute):
        f.expression(node.target.value)
    elif isinstance(node.target, cst.Subscript):
        f.expression(node.target.value)
        lower_index(f, node.target)


@lowers_statement(cst.AugAssign)
def _lower_augmented(f: FunctionBuilder, node: cst.AugAssign) -> None:
    loc, target, op = f.loc(node), node.target, augmented(node.operator)
    result = f.temp()
    match target:
        case cst.Name(value=name):
            old = f.load(name, f.loc(target))
            right = f.expression(node.value)
            f.emit(Binary(dst=result, op=op, left=old, right=right, loc=loc))
            f.store(name, result, f.loc(target), last_use=True)
        case cst.Attribute(value=owner, attr=attr):
            obj, old, name = f.expression(owner), f.temp(), f.scope.mangle(attr.value)
            f.emit(LoadAttr(dst=old, obj=obj, name=name, loc=f.loc(target)))
            right = f.expression(node.value)
            f.emit(Binary(dst=result, op=op, left=old, right=right, loc=loc))
            f.emit(StoreAttr(obj=obj, name=name, src=result, loc=f.loc(target)))
        case cst.Subscript(value=owner):
            obj = f.expression(owner)
            index, old = lower_index(f, target), f.temp()
            f.emit(LoadItem(dst=old, obj=obj, index=index, loc=f.loc(target)))
            right = f.expression(node.value)
            f.emit(Binary(dst=result, op=op, left=old, right=right, loc=loc))
            f.emit(StoreItem(obj=obj, index=index, src=result, loc=f.loc(target)))
        case _:
            raise f.unsupported(target, f"augmented assignment to {type(target).__name__}", "assign to a variable")


@lowers_statement(cst.Del)
def _lower_del(f: FunctionBuilder, node: cst.Del) -> None:
    _delete(f, node.target)


def _delete(f: FunctionBuilder, target: cst.CSTNode) -> None:
    match target:
        case cst.Name():
            f.delete(target, f.loc(target))
        case cst.Attribute(value=owner, attr=attr):
            f.emit(DeleteAttr(obj=f.expression(owner), name=f.scope.mangle(attr.value), loc=f.loc(target)))
        case cst.Subscript(value=owner):
            obj = f.expression(owner)
            f.emit(DeleteItem(obj=obj, index=lower_index(f, target), loc=f.loc(target)))
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            for element in elements:
                _delete(f, element.value)
        case _:
            raise f.unsupported(target, f"deletion of {type(target).__name__}", "delete a variable")


# ---------------------------------------------------------------- imports


@lowers_statement(cst.Import)
def _lower_import(f: FunctionBuilder, node: cst.Import) -> None:
    loc = f.loc(node)
    for alias in node.names:
        name = alias.evaluated_name
        module = _import(f, node, name, (), 0)
        if alias.asname is None:
            f.store(name.split(".")[0], module, loc, last_use=True)
            continue
        for part in name.split(".")[1:]:
            outer, module = module, f.temp()
            f.emit(ImportFrom(dst=module, module=outer, name=part, loc=loc))
        assign(f, alias.asname.name, module)


@lowers_statement(cst.ImportFrom)
def _lower_import_from(f: FunctionBuilder, node: cst.ImportFrom) -> None:
    loc = f.loc(node)
    assert not isinstance(node.names, cst.ImportStar)  # CPython allows it at module level only
    names = tuple(alias.evaluated_name for alias in node.names)
    source = "" if node.module is None else cst.Module([]).code_for_node(node.module).replace(" ", "")
    module = _import(f, node, source, names, len(node.relative))
    for alias, name in zip(node.names, names, strict=True):
        value = f.temp()
        f.emit(ImportFrom(dst=value, module=module, name=name, loc=loc))
        if alias.asname is None:
            f.store(name, value, loc, last_use=True)
        else:
            assign(f, alias.asname.name, value)


def _import(f: FunctionBuilder, node: cst.CSTNode, name: str, fromlist: tuple[str, ...], level: int) -> Register:
    dst = f.temp()
    f.emit(Import(dst=dst, name=name, fromlist=fromlist, level=level, loc=f.loc(node)))
    return dst
