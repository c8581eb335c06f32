"""The inputs of one method: the tensors of its example as fake ones, what a call chooses, the signature."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UNKNOWN, UnsupportedError
from dycl.ir.dimensions import STATIC, DynamicInputs, add_defaults
from dycl.ir.nodes import Write
from dycl.ir.program import Param, ParamKind
from dycl.ir.structures import find_structures, is_structure, map_arguments
from dycl.ir.trees import leaves
from dycl.ir.values import (
    InputLeaf,
    Lit,
    Mapping,
    ObjectType,
    Operand,
    Record,
    RecordKind,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
)
from dycl.passes.specialize import received
from dycl.passes.specialize.exits import Exit, OutputBuilder
from dycl.passes.specialize.freedom import Freedom, FreeNumber
from dycl.passes.specialize.state import State
from dycl.passes.specialize.values import RuntimeObject, Scalar, Text

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class MethodExample:
    """A method to compile and a call of it: any values of the tensors, the same everything else.

    Objects among the inputs may have any structure of which every part occurs in the call or in the further `examples`.
    """

    name: str = "forward"
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    dynamic: DynamicInputs = STATIC
    examples: Sequence[Call] = ()


class MethodInputs:
    """The inputs of one method in one attempt."""

    def __init__(
        self, machine: Machine, model: torch.nn.Module, example: MethodExample, outputs: OutputBuilder
    ) -> None:
        self.machine, self.name, self.outputs = machine, example.name, outputs
        self.function = getattr(model, example.name)
        self.freedom = Freedom(machine, example.dynamic)
        self.tensors: list[torch.Tensor] = []
        self.vids: list[Any] = []
        self._draw_schemas([(example.args, example.kwargs), *example.examples])
        self._make_inputs(example.args, example.kwargs)

    def _make_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        machine = self.machine

        def fake(leaf: Any) -> Any:
            if isinstance(leaf, FreeNumber):
                value, vid = self.freedom.number(leaf)
                self.vids.append(vid)
                return value
            if is_structure(leaf):
                return self._make_object(leaf)
            if not isinstance(leaf, torch.Tensor):
                return leaf
            made = self.freedom.tensor(leaf)
            with torch.no_grad():
                tensor = machine.fake.from_tensor(leaf.detach(), static_shapes=True) if made is None else made
            if tensor.untyped_storage()._cdata in machine.input_storages:
                raise UnsupportedError(
                    "DY213", UNKNOWN, "two inputs share their memory", hint="pass clones as examples"
                )
            machine.input_storages.add(tensor.untyped_storage()._cdata)
            self.vids.append(machine.adopt(tensor))
            machine.input_roots.add(self.vids[-1])
            self.freedom.adopted(leaf, self.vids[-1])
            self.tensors.append(tensor)
            return tensor

        function = self.function
        try:
            bound = inspect.signature(function).bind(*args, **kwargs)
        except TypeError as error:
            raise UnsupportedError("DY213", UNKNOWN, f"the example inputs do not fit {self.name}: {error}") from None
        given = {id(leaf) for leaf in leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        if len(given) != sum(isinstance(leaf, torch.Tensor) for leaf in leaves((args, kwargs))):
            raise UnsupportedError("DY213", UNKNOWN, "the same tensor is passed twice", hint="pass clones as examples")
        add_defaults(bound, self.freedom.dynamic)
        given_arguments = self.freedom.mark(bound.arguments)
        # by parameter order, which is the order in which the host receives them
        arguments = {name: map_arguments(fake, value) for name, value in given_arguments.items()}
        machine.has_input_objects |= any(map(received.has_objects, arguments.values()))
        if not machine.hints.received:
            for value in arguments.values():
                machine.remember_inputs(value)
        for name, value in arguments.items():
            for leaf in leaves(value):
                if isinstance(leaf, FakeTensor):
                    machine.values.names.setdefault(machine.current_vid(leaf), name)
                elif isinstance(leaf, (Scalar, RuntimeObject)):
                    machine.values.names.setdefault(leaf.vid, name)
        bound.arguments.update(arguments)
        self._bound, self._given = bound, arguments
        self.signature = self._signature(inspect.signature(function), arguments)

    def begin(self, state: State) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call; where the model writes to such, of its own, and the state knows where they are."""
        if self.machine.hints.received:
            self._bound.arguments.update({name: received.fresh(value) for name, value in self._given.items()})
            for name, value in self._by_parameter(self._bound.arguments).items():
                state.received.update(received.places(value, (self.name, name)))
        return self._bound.args, self._bound.kwargs

    def writes(self, leaving: Exit) -> tuple[Write, ...]:
        """What the caller sees written when a path of the method ends."""
        if not leaving.state.received:
            return ()
        given = (self.name, self._by_parameter(self._given))
        return received.Handback(self.machine, self.outputs, given, leaving).writes()

    def _by_parameter(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments under the names that they have in the signature."""
        found: dict[str, Any] = {}
        for name, value in arguments.items():
            kind = inspect.signature(self.function).parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                found |= {f"{name}_{index}": item for index, item in enumerate(value)}
            else:
                found |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        return found

    def _draw_schemas(self, examples: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> None:
        """The schemas of the objects in all examples, and of what the model is known to write into them."""
        signature = inspect.signature(self.function)
        self._objects: dict[int, str] = {}
        for args, kwargs in examples:
            try:
                arguments = signature.bind(*args, **kwargs).arguments
            except TypeError:
                continue  # said with the inputs
            for name, value in arguments.items():
                for base, found in find_structures(value, name):
                    self._objects[id(found)] = self.machine.schemas.add(found, base)
        for write in self.machine.hints.writes:
            self.machine.schemas.write(write)

    def _make_object(self, value: Any) -> RuntimeObject:
        machine = self.machine
        schema = self._objects.get(id(value)) or machine.schemas.add(value, "input")
        found = RuntimeObject(schema, machine.values.new(ObjectType(schema)))
        self.vids.append(found.vid)
        return found

    def _signature(self, signature: inspect.Signature, arguments: dict[str, Any]) -> tuple[Param, ...]:
        counter = iter(range(len(self.vids)))
        params: list[Param] = []
        for name, parameter in signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                items = arguments.get(name, ())
                if items:  # what comes before them has no other way than by position either
                    params = [replace(param, kind=ParamKind.POSITIONAL_ONLY, optional=False) for param in params]
                params += [
                    Param(name=f"{name}_{i}", kind=ParamKind.POSITIONAL_ONLY, spec=self._spec(item, counter))
                    for i, item in enumerate(items)
                ]
                continue
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                extra = arguments.get(name, {})
                params += [
                    Param(name=key, kind=ParamKind.KEYWORD_ONLY, spec=self._spec(item, counter))
                    for key, item in extra.items()
                ]
                continue
            kinds: dict[Any, ParamKind] = {
                inspect.Parameter.POSITIONAL_ONLY: ParamKind.POSITIONAL_ONLY,
                inspect.Parameter.KEYWORD_ONLY: ParamKind.KEYWORD_ONLY,
            }
            kind = kinds.get(parameter.kind, ParamKind.POSITIONAL_OR_KEYWORD)
            is_given = name in arguments
            value = arguments[name] if is_given else parameter.default
            spec = self._spec(value, counter) if is_given or _is_literal(value) else Lit(None)
            optional = parameter.default is not inspect.Parameter.empty and (
                not is_given or _same_literal(value, parameter.default)
            )
            params.append(Param(name=name, kind=kind, spec=spec, optional=optional))
        return tuple(params)

    def _spec(self, value: Any, counter: Any) -> Operand:
        if isinstance(value, torch.Tensor):
            return InputLeaf(next(counter), self.machine.tensor_type(value))
        if isinstance(value, Scalar):
            return InputLeaf(next(counter), ScalarType(value.kind), *self.freedom.bounds(value.vid))
        if isinstance(value, Text):
            return InputLeaf(next(counter), ScalarType(ScalarKind.STR))
        if isinstance(value, RuntimeObject):
            return InputLeaf(next(counter), ObjectType(value.schema))
        if _is_literal(value):
            return Lit(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            fields = tuple((name, self._spec(item, counter)) for name, item in zip(value._fields, value, strict=True))
            return Record(RecordKind.NAMEDTUPLE, self.outputs.class_name(type(value)), fields)
        if isinstance(value, (tuple, list)):
            kind = SeqKind.LIST if isinstance(value, list) else SeqKind.TUPLE
            return Seq(kind, tuple(self._spec(item, counter) for item in value))
        if type(value) is dict:
            return Mapping(tuple((Lit(key), self._spec(item, counter)) for key, item in value.items()))
        raise UnsupportedError(
            "DY213",
            UNKNOWN,
            f"an input is a {type(value).__module__}.{type(value).__qualname__}",
            hint="pass tensors, numbers, text, lists, tuples or dicts",
        )

    @property
    def aliases(self) -> dict[int, tuple[Any, ...]]:
        """The alias table of the inputs: each has its memory to itself."""
        return {tensor.untyped_storage()._cdata: (tensor._dycl_root,) for tensor in self.tensors}  # type: ignore[attr-defined]


def _is_literal(value: Any) -> bool:
    return value is None or value is Ellipsis or type(value) in (bool, int, float, str)


def _same_literal(value: Any, default: Any) -> bool:
    return _is_literal(value) and type(value) is type(default) and value == default
