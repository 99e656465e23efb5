"""How an operand's chunk lies in shared memory for `wgmma` to read it there.

Its units of 16 bytes are swizzled within each line, and the instruction gets a descriptor (PTX
ISA, "Shared Memory Matrix Layout" and "Matrix Descriptor Format" of wgmma).
"""

from dataclasses import dataclass

from tvm import tirx

from codegen.kernels.cuda.form import UNIT, Form
from codegen.kernels.cuda.tensor.tile import WORD
from codegen.loops import Expr

LONGEST = 64
"""Bytes of a line: 32 images of bf16."""
EIGHT = 8
"""Lines that make a pattern together."""
MIXED = 128
"""Bytes after which units lie in another order."""


@dataclass(frozen=True)
class Swizzled:
    """Lines run along the depth where memory does (`flipped`): one for each row or column.

    Else they run along rows or columns, 64 bytes of them; one for each step, then the next 64
    bytes.
    """

    form: Form
    depth: int
    extent: int
    flipped: bool

    @property
    def bytes(self) -> int:
        """Of a line."""
        return self.depth * self.form.bytes if self.flipped else LONGEST

    @property
    def words(self) -> int:
        """All of it."""
        return self.depth * self.extent * self.form.bytes // WORD

    def word(self, step: Expr, extent: Expr) -> Expr:
        """Where an element lies that is moved with its neighbours."""
        line, byte = self._line(step, extent)
        unit, within = tirx.truncdiv(byte, UNIT), tirx.truncmod(byte, UNIT)
        # Bits 4 and up of an address, as many as a line has units, are mixed with those from bit 7.
        units, period = self.bytes // UNIT, MIXED // self.bytes
        mixed = unit ^ tirx.truncmod(tirx.truncdiv(line, period), units)
        return tirx.truncdiv(line * self.bytes + mixed * UNIT + within, WORD)

    def _line(self, step: Expr, extent: Expr) -> tuple[Expr, Expr]:
        """The line of an element, and its byte there."""
        if self.flipped:
            return extent, step * self.form.bytes
        byte = extent * self.form.bytes
        line = tirx.truncdiv(byte, LONGEST) * self.depth + step
        return line, tirx.truncmod(byte, LONGEST)

    # ------------------------------------------------------------------------ descriptors

    def start(self, step: Expr, begin: Expr) -> Expr:
        """The word that an instruction's operand begins with: of its step, from a row (or column)
        on that begins a pattern."""
        if self.flipped:
            return tirx.truncdiv(begin * self.bytes + step * self.form.step * self.form.bytes, WORD)
        across = tirx.truncdiv(begin * self.form.bytes, LONGEST) * self.depth
        return (across + step * self.form.step) * (LONGEST // WORD)

    @property
    def lead(self) -> int:
        """Bytes from 64 bytes of rows (or columns) to the next; without meaning where flipped."""
        return UNIT if self.flipped else self.depth * LONGEST

    @property
    def stride(self) -> int:
        """Bytes from eight lines to the next eight."""
        return EIGHT * self.bytes

    @property
    def mode(self) -> int:
        """The swizzle, as descriptors name it."""
        return {64: 2, 32: 3}[self.bytes]
