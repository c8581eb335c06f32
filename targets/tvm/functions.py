"""exp, sigmoid, tanh and erf of float32 as arithmetic, which runs in vectors, and not a call for each element.

Each is within a few units of the last place, is infinite where the true one is beyond the largest float, and keeps what
is no number. The rational approximations of tanh and erf were fitted for this file (least squares, reweighted towards
the largest relative error); exp is a Taylor series between powers of two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import factorial
from typing import Any

# x * P(x²) / Q(x²), for |x| up to the bound; beyond it is one.
_TANH_BOUND = 8.6
_TANH_P = (1.0, 0.13699401915073395, 0.0038928051944822073, 2.8505413865786977e-05, 3.180205965236382e-08)
_TANH_P_LAST = -1.312819557924838e-11
_TANH_Q = (1.0, 0.47032734751701355, 0.027335265651345253, 0.0003981925256084651, 1.3224046142568113e-06)
_ERF_BOUND = 3.92
_ERF_P = (1.1283791065216064, 0.19040481746196747, 0.052748408168554306, 0.003765515051782131, 0.0002848751610144973)
_ERF_P_LAST = 2.0500331174844177e-06
_ERF_Q = (1.0, 0.5020745992660522, 0.11410833895206451, 0.014969022944569588, 0.001162500586360693)
_ERF_Q_LAST = 3.809075496974401e-05

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.1219444005469057e-04  # their sum is ln 2; the first has few digits
_EXP_TERMS = 7


def expand_functions(module: Any) -> Any:
    """The module with these functions written out."""
    from tvm.tirx import PrimFunc

    for name, function in list(module.functions.items()):
        if isinstance(function, PrimFunc):
            module[name] = _expand(function)
    return module


def _expand(function: Any) -> Any:
    import tvm_ffi
    from tvm.ir import Call

    expansions: dict[str, Callable[[Any], Any]] = {
        "tirx.exp": _exp,
        "tirx.sigmoid": _sigmoid,
        "tirx.tanh": _tanh,
        "tirx.erf": _erf,
    }

    def expand(call: Any) -> Any:
        expansion = expansions.get(getattr(call.op, "name", ""))
        if expansion is None or str(call.ty.dtype) != "float32":
            return call
        return _shared(call.args[0], expansion)

    return tvm_ffi.structural_map(function, ((Call, expand),))


def _shared(value: Any, use: Callable[[Any], Any]) -> Any:
    """What is made of a value that is computed once."""
    from tvm import tirx

    name = tirx.Var("v", str(value.ty.dtype))
    return tirx.Let(name, value, use(name))


def _constant(value: float) -> Any:
    from tvm import tirx

    return tirx.const(value, "float32")


def _bounded(value: Any, low: float, high: float) -> Any:
    """Within bounds; the constants come first, so that what is no number stays so."""
    from tvm import tirx

    return tirx.Min(_constant(high), tirx.Max(_constant(low), value))


def _polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """c0 + x * (c1 + x * (c2 + ...))"""
    result = _constant(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + _constant(coefficient)
    return result


def _exp(x: Any) -> Any:
    from tvm import tirx

    def rest(y: Any) -> Any:
        return _shared(tirx.floor(y * _constant(_LOG2_E) + _constant(0.5)), lambda n: scaled(y, n))

    def scaled(y: Any, n: Any) -> Any:
        remainder = (y - n * _constant(_LN2_HIGH)) - n * _constant(_LN2_LOW)
        series = [1 / factorial(k) for k in range(_EXP_TERMS + 1)]
        return _shared(remainder, lambda r: _shared(whole(n), lambda k: powers(_polynomial(r, series), k)))

    def whole(n: Any) -> Any:
        """The exponent; the constant comes second, so that what is no number becomes one before it is converted."""
        return tirx.Cast("int32", tirx.Min(tirx.Max(n, _constant(-160.0)), _constant(160.0)))

    def powers(value: Any, k: Any) -> Any:
        """In two steps: the result may be too small, or too large, for one power of two."""
        return _shared(k >> tirx.const(1, "int32"), lambda half: value * power(half) * power(k - half))

    def power(k: Any) -> Any:
        return tirx.reinterpret("float32", (k + tirx.const(127, "int32")) << tirx.const(23, "int32"))

    return _shared(_bounded(x, -104.0, 89.0), rest)


def _sigmoid(x: Any) -> Any:
    return _constant(1.0) / (_constant(1.0) + _exp(_constant(0.0) - x))


def _tanh(x: Any) -> Any:
    return _rational(x, _TANH_BOUND, (*_TANH_P, _TANH_P_LAST), _TANH_Q)


def _erf(x: Any) -> Any:
    return _rational(x, _ERF_BOUND, (*_ERF_P, _ERF_P_LAST), (*_ERF_Q, _ERF_Q_LAST))


def _rational(x: Any, bound: float, above: Sequence[float], below: Sequence[float]) -> Any:
    from tvm import tirx

    def quotient(y: Any) -> Any:
        return _shared(y * y, lambda u: _bounded(y * _polynomial(u, above) / _polynomial(u, below), -1.0, 1.0))

    inside = _shared(_bounded(x, -bound, bound), quotient)
    beyond = tirx.Select(x < _constant(0.0), _constant(-1.0), _constant(1.0))
    return tirx.Select(tirx.Or(x < _constant(-bound), x > _constant(bound)), beyond, inside)
