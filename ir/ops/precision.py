"""Rounding of operands, as tensor cores read them; the oracle emulates it bit for bit."""

import numpy as np
import numpy.typing as npt

from ir.graph import Node
from ir.op import Array, Attr
from ir.type import DType

MATH = {"math": Attr(str, "f32", choices=("f32", "tf32"))}
"""How a contraction reads its f32 operands: exactly, or rounded to tf32."""

_DROPPED_BITS = {"tf32": 13, "bf16": 16}
"""Of the 23 bits of an f32's mantissa."""


def rounded(x: Array, form: str) -> Array:
    """x with the mantissa of `form` ("f32" leaves it alone), to nearest.

    Ties go to even in bf16, away from zero in tf32. NaN and infinities stay what they are.
    """
    if form == "f32":
        return x
    drop = np.uint32(_DROPPED_BITS[form])
    bits = x.astype(np.float32).view(np.uint32)
    half = np.uint32(1) << (drop - np.uint32(1))
    less = _odd_is_kept(bits, drop) if form == "bf16" else np.uint32(0)
    nearest = (bits + (half - less)) >> drop << drop
    return np.where(np.isfinite(x), nearest, bits).view(np.float32).astype(x.dtype)


def _odd_is_kept(bits: npt.NDArray[np.uint32], drop: np.uint32) -> npt.NDArray[np.uint32]:
    """1 where a tie must stay down to be even."""
    return np.uint32(1) - ((bits >> drop) & np.uint32(1))


def form_of(contraction: Node) -> str:
    """How it reads its operands: bf16 where they are stored so, else as its `math` says."""
    stored = contraction.inputs[0].type.dtype
    return "bf16" if stored is DType.BF16 else str(contraction.attrs["math"])
