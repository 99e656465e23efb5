"""How a contraction reads its operands, and so what multiplies them: a thread, or a tensor core."""

from dataclasses import dataclass
from math import gcd

from ir.graph import Node
from ir.ops import precision

UNIT = 16
"""Bytes that a thread moves at once, at most."""


@dataclass(frozen=True)
class Form:
    """`bytes` of an element in memory; `step` steps of a sum are one instruction's."""

    name: str
    bytes: int
    step: int

    @property
    def depth(self) -> int:
        """Steps of a chunk: 64 bytes of an operand's row, or 32 where a step is one element."""
        return 2 * max(self.step, 8)

    def depth_of(self, steps: int) -> int:
        """Steps of a chunk, for sums of so many: few barriers, and few steps wasted where the last
        chunk is one of few."""
        half = self.depth // 2
        wasted = 0 < steps % self.depth <= half and steps < 4 * self.depth
        return half if wasted else self.depth

    def width(self, *extents: int) -> int:
        """Neighbours that are moved at once: they begin at multiples of themselves in arrays of
        these extents, and all of them are inside or none."""
        return gcd(UNIT // self.bytes, *extents)


F32 = Form("f32", 4, 1)
TF32 = Form("tf32", 4, 8)
BF16 = Form("bf16", 2, 16)
FORMS = {form.name: form for form in (F32, TF32, BF16)}


def form_of(node: Node) -> Form:
    """The form of a contraction's operands."""
    return FORMS[precision.form_of(node)]
