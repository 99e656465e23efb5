"""The way of an operand's elements: from memory into registers, from there into shared memory.

A chunk of `depth` steps of a sum, for all rows (or columns) of a tile, is loaded while the chunk
before is summed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx

from codegen.kernels.cuda.operand import At, Run, ramp, when
from codegen.kernels.cuda.simt.tile import SimtTile
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.loops import Expr

FLIPPED = 16
"""Rows that half a warp reads where memory runs along the depth."""


class Stage:
    """One operand's chunk in shared memory, as [step, row], and the next one in registers."""

    def __init__(self, w: Writer, tile: SimtTile, extent: int, run: Run) -> None:
        self._w, self._run = w, run
        self._extent, self._threads = extent, tile.threads
        # The pitch keeps stores of a flipped operand off each other's banks.
        self._pitch = extent + 4 if run.flipped else extent
        self._units = tile.size.depth * extent // run.width
        self._turns = -(-self._units // tile.threads)
        # One axis: TVM would take the pitch out.
        self._shared = w.shared(tile.size.depth * self._pitch)
        self._held = w.local(self._turns * run.width)

    def load(self, warp: Expr, at: At) -> None:
        """Read the thread's elements into registers."""
        w, width = self._w, self._run.width
        with self._each(warp) as (turn, step, row):
            element = at(step, row)
            held = ramp(turn * width, width)
            zero = tirx.const(0, "float32")
            w.store(self._held, tirx.Broadcast(zero, width) if width > 1 else zero, held)
            with when(w, element.valid):
                w.store(self._held, element.run(width), held)

    def put(self, warp: Expr) -> None:
        """Store the thread's elements where all threads of the block see them."""
        w, width = self._w, self._run.width
        with self._each(warp) as (turn, step, row):
            if self._run.flipped:
                with w.unrolled(width) as i:
                    place = (step + i) * self._pitch + row
                    w.store(self._shared, self._held[turn * width + i], place)
            else:
                held = self._held[ramp(turn * width, width)]
                w.store(self._shared, held, ramp(step * self._pitch + row, width))

    def read(self, step: Expr, row: Expr, width: int = 1) -> Expr:
        """Neighbours in shared memory."""
        return self._shared[ramp(step * self._pitch + row, width)]

    @contextmanager
    def _each(self, warp: Expr) -> Iterator[tuple[Expr, Expr, Expr]]:
        """For each of the thread's units: its turn, the step and the row that it begins with."""
        w = self._w
        with w.unrolled(self._turns) as turn:
            unit = turn * self._threads + warp * WARP + w.lane
            whole = self._turns * self._threads == self._units
            with when(w, () if whole else (unit < self._units,)):
                yield turn, *self._place(unit)

    def _place(self, unit: Expr) -> tuple[Expr, Expr]:
        width = self._run.width
        if not self._run.flipped:
            along = self._extent // width
            return tirx.truncdiv(unit, along), tirx.truncmod(unit, along) * width
        # Halves of a warp read neighbours along the depth, lanes of a half as many rows.
        lane, number = self._w.lane, tirx.truncdiv(unit, WARP)
        along = self._extent // FLIPPED
        step = tirx.truncdiv(number, along) * 2 + tirx.truncdiv(lane, FLIPPED)
        return step * width, tirx.truncmod(number, along) * FLIPPED + tirx.truncmod(lane, FLIPPED)
