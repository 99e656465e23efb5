"""Integer expressions of TVM as functions of the loop variables: extents and conditions."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import expr as ir

Values = Mapping[str, int]
"""Of variables, by their names, which are unique in a kernel."""


@dataclass(frozen=True)
class Control:
    """`value` computes an expression; it needs the values of the variables in `free`."""

    value: Callable[[Values], int]
    free: frozenset[str]


class Unknown(Exception):
    """The expression is no function of integers that is understood here."""


def _truncdiv(a: int, b: int) -> int:
    return a // b if (a < 0) == (b < 0) else -(-a // b)


def _truncmod(a: int, b: int) -> int:
    return a - b * _truncdiv(a, b)


BINARY: dict[Any, Callable[[Any, Any], Any]] = {
    tirx.Add: operator.add,
    tirx.Sub: operator.sub,
    tirx.Mul: operator.mul,
    tirx.FloorDiv: operator.floordiv,
    tirx.FloorMod: operator.mod,
    tirx.Div: _truncdiv,
    tirx.Mod: _truncmod,
    tirx.Min: min,
    tirx.Max: max,
    tirx.EQ: operator.eq,
    tirx.NE: operator.ne,
    tirx.LT: operator.lt,
    tirx.LE: operator.le,
    tirx.GT: operator.gt,
    tirx.GE: operator.ge,
    tirx.And: lambda a, b: a and b,
    tirx.Or: lambda a, b: a or b,
}


def control(expr: Any) -> Control:
    """The function that an expression is. Raises Unknown where it is none of integers."""
    if isinstance(expr, tirx.IntImm):
        number = int(expr.value)
        return Control(lambda values: number, frozenset())
    if isinstance(expr, tirx.Var):
        return _named(str(expr.name))
    if isinstance(expr, ir.TensorLoad) and len(expr.indices) == 1:
        # An integer in an array of its own (`Loops.opaque`) goes by the array's name.
        return _named(str(expr.source.name))
    if isinstance(expr, tirx.Cast):
        return control(expr.value)
    if isinstance(expr, tirx.Not):
        inner = control(expr.a)
        return Control(lambda values: not inner.value(values), inner.free)
    if isinstance(expr, tirx.Select):
        return _select(expr)
    if type(expr) not in BINARY:
        raise Unknown
    return _binary(expr)


def _named(name: str) -> Control:
    return Control(lambda values: values[name], frozenset({name}))


def _select(expr: Any) -> Control:
    parts = [control(each) for each in (expr.condition, expr.true_value, expr.false_value)]
    test, yes, no = (part.value for part in parts)
    free = frozenset().union(*(part.free for part in parts))
    return Control(lambda values: yes(values) if test(values) else no(values), free)


def _binary(expr: Any) -> Control:
    one, other, combine = control(expr.a), control(expr.b), BINARY[type(expr)]
    left, right = one.value, other.value
    return Control(lambda values: combine(left(values), right(values)), one.free | other.free)
