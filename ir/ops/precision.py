"""Rounding of operands, as tensor cores do it; the oracle emulates it bit for bit."""

import numpy as np

from ir.op import Array, Attr

MATH = {"math": Attr(str, "f32", choices=("f32", "tf32"))}
"""How a contraction reads its f32 operands: exactly, or rounded to tf32."""

_MANTISSA_BITS = {"tf32": 10, "bf16": 7}


def rounded(x: Array, form: str) -> Array:
    """x with the mantissa of `form` ("f32" leaves it alone), to nearest, ties to even."""
    if form == "f32":
        return x
    drop = 23 - _MANTISSA_BITS[form]
    bits = x.astype(np.float32).view(np.uint32)
    half = (np.uint32(1) << np.uint32(drop - 1)) - np.uint32(1)
    odd = (bits >> np.uint32(drop)) & np.uint32(1)
    mask = np.uint32(0xFFFFFFFF) << np.uint32(drop)
    even = np.where(np.isfinite(x), (bits + half + odd) & mask, bits)
    return even.view(np.float32).astype(x.dtype)
