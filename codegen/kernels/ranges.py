"""Ranges of indices, computed now where the bounds are numbers and by the kernel where not."""

from tvm import tirx

from codegen.loops import Expr

Range = tuple[Expr, Expr]
"""Begin and end."""


def difference(a: Expr, b: Expr) -> Expr:
    """a - b; a itself when b is 0."""
    return a if isinstance(b, int) and b == 0 else a - b


def least(a: Expr, b: Expr) -> Expr:
    """The smaller one, known now if both are."""
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else tirx.min(a, b)


def largest(a: Expr, b: Expr) -> Expr:
    """The larger one, known now if both are."""
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else tirx.max(a, b)


def floored(a: Expr, b: int) -> Expr:
    """a // b for a >= 0."""
    return a // b if isinstance(a, int) else tirx.truncdiv(a, b)


def clipped(low: Expr, high: Expr, extent: int) -> Range:
    """The part of [low, high) inside [0, extent)."""
    return least(largest(low, 0), extent), least(largest(high, 0), extent)
