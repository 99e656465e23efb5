"""Operands of one instruction, from shared memory into registers.

Fragments of rows have 16 of them in four registers of a thread: rows g, g + 8, g, g + 8 of the
first, first, second and second half of the step's depth. Fragments of columns have 8 in two
registers; two of them are loaded at once. A thread with lane 4 g + q has steps q of a half in
tf32, 2 q and 2 q + 1 in bf16 (PTX ISA, "Matrix fragments for mma.m16n8k8" and "mma.m16n8k16").
"""

from typing import Any

from tvm import tirx

from codegen.kernels.cuda.tensor.mma.tile import MmaTile
from codegen.kernels.cuda.tensor.tile import ROWS, WORD
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.loops import Expr

HALF = 4
"""Words of half a step's depth, and of a line that a lane loads for all."""


class Fragments:
    """Of a warp's rows (`place` 0) or columns (1), which begin at `begin` of the tile's."""

    def __init__(self, w: Writer, tile: MmaTile, shared: Any, place: int, begin: Expr) -> None:
        size, extent = tile.size, (tile.rows, tile.columns)[place]
        self._w, self._form, self._shared = w, size.form, shared
        self._lines = tile.line(size.form, size.depth, extent, size.flipped[place])
        self._begin, self._place = begin, place
        extent = (tile.height, tile.width * WARP)[place]
        self._registers = (4, 2)[place]
        """Of a fragment."""
        self._fours = extent // ROWS
        self._array = w.local(4 * self._fours, dtype="uint32")

    def address(self, number: Expr) -> Expr:
        """Where the registers of a fragment are."""
        return self._w.address(self._array, number * self._registers, self._registers)

    def load(self, chunk: Expr, step: Expr) -> None:
        """Load all of them for one of the steps of the chunk that begins at a word."""
        w = self._w
        with w.unrolled(self._fours) as number:
            begin = self._begin + number * ROWS
            if self._lines.flipped:
                self._load_lines(chunk, step, number, begin)
            elif self._form.bytes == WORD:
                self._load_words(chunk, step, number, begin)
            else:
                self._load_transposed(chunk, step, number, begin)

    def _halves(self) -> tuple[Expr, Expr]:
        """Which eight of 16 rows, and which half of the depth, a lane loads a line of.

        Eight lanes load for one register: of rows, registers go through eights first.
        """
        low, high = (
            tirx.truncmod(tirx.truncdiv(self._w.lane, 8), 2),
            tirx.truncdiv(self._w.lane, 16),
        )
        return (low, high) if self._place == 0 else (high, low)

    def _load_lines(self, chunk: Expr, step: Expr, number: Expr, begin: Expr) -> None:
        eight, half = self._halves()
        line = begin + eight * 8 + tirx.truncmod(self._w.lane, 8)
        self._load_matrices(
            "load_matrices", number, chunk + self._lines.at(line, (2 * step + half) * HALF)
        )

    def _load_transposed(self, chunk: Expr, step: Expr, number: Expr, begin: Expr) -> None:
        eight, half = self._halves()
        line = step * self._form.step + half * 8 + tirx.truncmod(self._w.lane, 8)
        word = tirx.truncdiv(begin + eight * 8, 2)
        self._load_matrices("load_matrices_transposed", number, chunk + self._lines.at(line, word))

    def _load_matrices(self, function: str, number: Expr, word: Expr) -> None:
        w = self._w
        to = w.address(self._array, 4 * number, 4)
        w.call(function, to, w.address(self._shared, word, HALF))
        self._round(to)

    def _load_words(self, chunk: Expr, step: Expr, number: Expr, begin: Expr) -> None:
        """tf32 where lines run along rows: no instruction transposes words."""
        w = self._w
        g, q = tirx.truncdiv(w.lane, 4), tirx.truncmod(w.lane, 4)
        with w.unrolled(2) as high, w.unrolled(2) as low:
            eight, half = (low, high) if self._place == 0 else (high, low)
            line = step * self._form.step + half * HALF + q
            word = self._shared[chunk + self._lines.at(line, begin + eight * 8 + g)]
            bits = tirx.reinterpret("uint32", word)
            w.store(self._array, bits, 4 * number + 2 * high + low)
        self._round(w.address(self._array, 4 * number, 4))

    def _round(self, registers: Expr) -> None:
        if self._form.name == "tf32":
            self._w.call("round_tf32", registers)
