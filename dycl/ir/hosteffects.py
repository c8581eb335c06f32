"""Host functions whose answer depends on when they run: clocks, the environment, and the streams of random numbers."""

from __future__ import annotations

import os
import time

from dycl.ir.hostfunctions import HostFunction

DRAWS = "random."  # begins the names of the host functions that draw random numbers: methods of `randomness.Streams`

_DRAWS = {
    "uniform": 4,
    "normal": 4,
    "exponential": 3,
    "integers": 4,
    "bernoulli": 3,
    "multinomial": 3,
    "permutation": 2,
    "seed_torch": 1,
    "seed_python": 1,
    "seed_numpy": 1,
}


def _clock(name: str) -> object:
    return getattr(time, name)()


def _has_variable(name: object) -> object:
    return name in os.environ


def _variable(name: object) -> object:
    return os.environ[str(name)]


def _drawn(*args: object) -> object:
    raise LookupError("random numbers are the executor's to draw")


def _table() -> dict[str, HostFunction]:
    texts = {
        name: f"self.random.{name}({', '.join(f'{{{i}}}' for i in range(count))})" for name, count in _DRAWS.items()
    }
    texts |= {"of_python": "", "of_numpy": ""}  # text: a call with as many operands as given
    rows = [HostFunction(f"{DRAWS}{name}", _drawn, text, 100, True, True) for name, text in texts.items()]
    rows.append(HostFunction("clock", _clock, "", 100, True, True))  # text: the function of `time` that is named
    rows.append(HostFunction("environment_has", _has_variable, "{0} in os.environ", 20, False, True))
    rows.append(HostFunction("environment", _variable, "os.environ[{0}]", 100, True, True))
    return {row.name: row for row in rows}


EFFECTS: dict[str, HostFunction] = _table()
