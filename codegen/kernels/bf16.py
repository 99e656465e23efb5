"""bf16: 16 bits in memory, and the same number in float32 wherever it is computed with."""

from typing import Any

import numpy as np
from tvm import tirx

from codegen.loops import Expr
from ir.ops.precision import rounded as rounded_array

STORED = "uint16"
"""TVM's name for what memory holds."""


def number(bits: Expr) -> Expr:
    """The float32 that bits in memory stand for."""
    high = tirx.shift_left(tirx.Cast("uint32", bits), tirx.const(16, "uint32"))
    return tirx.reinterpret("float32", high)


def number_among(elements: Expr, place: Expr) -> Expr:
    """The same of one among elements in registers, of which two share one, by their address."""
    return tirx.call_pure_extern("float32", "bf16_number", elements, place)


def bits(value: Expr) -> Expr:
    """The bits of the nearest bf16 number, of two the even one; NaN stays NaN."""
    return tirx.call_pure_extern(STORED, "bf16_bits", value)


def rounded(value: Expr) -> Expr:
    """The nearest bf16 number, as float32."""
    return number(bits(value))


def constant(value: float) -> Any:
    """The same of a number known now."""
    nearest = rounded_array(np.asarray(value, np.float32), "bf16")
    return tirx.const(float(nearest), "float32")
