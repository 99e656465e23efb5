"""How an operand's chunk lies in shared memory for fragments to be loaded from."""

from dataclasses import dataclass

from tvm import tirx

from codegen.kernels.cuda.form import Form
from codegen.kernels.cuda.tensor.tile import WORD
from codegen.loops import Expr


@dataclass(frozen=True)
class Padded:
    """Lines run along the depth where memory does (`flipped`), else along rows or columns."""

    form: Form
    depth: int
    extent: int
    flipped: bool

    @property
    def pitch(self) -> int:
        """Words between lines.

        They are shifted so that eight of them, as one instruction loads them, lie in banks of
        their own; of four lines of tf32, threads load eight neighbours each.
        """
        words = (self.depth if self.flipped else self.extent) * self.form.bytes // WORD
        return words + (8 if self.form.bytes == WORD and not self.flipped else 4)

    @property
    def words(self) -> int:
        """All of it."""
        return self.pitch * (self.extent if self.flipped else self.depth)

    def word(self, step: Expr, extent: Expr) -> Expr:
        """Where an element lies that is moved with its neighbours."""
        line, along = (extent, step) if self.flipped else (step, extent)
        return self.at(line, tirx.truncdiv(along * self.form.bytes, WORD))

    def at(self, line: Expr, word: Expr) -> Expr:
        """Where a word of a line lies."""
        return line * self.pitch + word
