"""Where `wgmma` reads its operands: a second model, in units of 16 bytes, beside `wgmma/lines.py`.

As CUTLASS describes the canonical layouts (cute/atom/mma_traits_sm90_gmma.hpp, make_gmma_desc).
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from codegen.kernels.cuda.form import BF16, TF32, UNIT, Form
from ir.op import Array
from tests.test_emulated_warps import halves

MODES = {4: 2, 2: 3}
"""By the units of a line."""


@dataclass(frozen=True)
class Canonical:
    """Units of 16 bytes, of which a line has `units`; `lead` and `stride` are units, too.

    K-major ((8,n),(T,2)):((W T,SBO),(1,T)); MN-major ((T,W,n),(8,k)):((1,T,LBO),(W T,SBO)), with
    T elements in a unit, W units in a line. Then Swizzle<log2 W,4,3> of the byte's address.
    """

    form: Form
    units: int
    along_rows: bool
    lead: int
    stride: int

    def plain(self, row: Array, step: Array) -> Array:
        """The byte of an element before it is swizzled."""
        if self.along_rows:
            byte = row * self.form.bytes
            unit, group = byte // UNIT % self.units, byte // UNIT // self.units
            place = unit + group * self.lead + step % 8 * self.units + step // 8 * self.stride
        else:
            byte = step * self.form.bytes
            place = byte // UNIT + row % 8 * self.units + row // 8 * self.stride
        return np.asarray(place * UNIT + byte % UNIT)

    def byte(self, row: Array, step: Array) -> Array:
        """The byte of an element."""
        address = self.plain(row, step)
        bits = (self.units - 1) << 7
        return np.asarray(address ^ ((address & bits) >> 3))

    def all(self, rows: int, steps: int) -> Array:
        """The byte of each element."""
        return self.byte(np.arange(rows)[:, None], np.arange(steps))

    def memory(self, matrix: Array, size: int) -> Array:
        """So many bytes with a matrix of (rows, steps) in them, and NaN elsewhere."""
        found = np.full(size, 0xFF, np.uint8)
        values = halves(matrix) if self.form is BF16 else matrix
        places = self.all(*matrix.shape)[..., None] + np.arange(self.form.bytes)
        found[places] = np.ascontiguousarray(values)[..., None].view(np.uint8)
        return found


@st.composite
def layouts(draw: st.DrawFn, form: Form, along_rows: bool, steps: int) -> Canonical:
    """Any that has room: patterns of eight lines lie apart, in memory of their own."""
    gap = st.sampled_from((1, 1, 2))
    if along_rows:
        stride = 8 * 4 * draw(gap)
        return Canonical(form, 4, True, stride * -(-steps // 8) * draw(gap), stride)
    units = steps * form.bytes // UNIT
    return Canonical(form, units, False, 1, 8 * units * draw(gap))


FORMS = st.sampled_from(
    [(BF16, a, b) for a in (False, True) for b in (False, True)] + [(TF32, False, False)]
)
