"""Context variables: what the run sets them to belongs to its path, and must be taken back before the call ends."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

from dycl.diagnostics import UnsupportedError
from dycl.passes.specialize.builtins import model

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


class ContextToken:
    """What `set` returns: the variable and what it was set to before."""

    __slots__ = ("old", "var")

    def __init__(self, var: Any, old: Any) -> None:
        self.var = var
        self.old = old


# The `old` of a variable that the run had not set. A class is what it is in all states; a text may become one that only
# the run knows.
_UNSET = ContextToken


@model(contextvars.ContextVar.set)
def _set(machine: Machine, variable: Any, value: Any, *, native: Any) -> Any:
    contexts = machine.state.contexts
    token = ContextToken(variable, contexts.get(variable, _UNSET))
    contexts[variable] = value
    return token


@model(contextvars.ContextVar.get)
def _get(machine: Machine, variable: Any, *default: Any, native: Any) -> Any:
    contexts = machine.state.contexts
    return contexts[variable] if variable in contexts else variable.get(*default)


@model(contextvars.ContextVar.reset)
def _reset(machine: Machine, variable: Any, token: Any, *, native: Any) -> Any:
    if not isinstance(token, ContextToken) or token.var is not variable:
        raise UnsupportedError("DY206", machine.loc(), "a context variable is reset that the run did not set")
    if token.old is _UNSET:
        machine.state.contexts.pop(variable, None)
    else:
        machine.state.contexts[variable] = token.old


def check_taken_back(machine: Machine) -> None:
    """Refuse a call that leaves a context variable set: the next one, and others, would see it."""
    if machine.state.contexts:
        raise UnsupportedError(
            "DY206",
            machine.loc(),
            "a context variable keeps what the run has set it to",
            hint="reset() it with its token before the method returns",
        )
