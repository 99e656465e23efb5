"""The innermost part of all contractions: a tile of sums that stays in registers.

A step reads each of a thread's columns once and its rows by broadcasts: with 16 rows and eight
blocks of columns, 12 reads of shared memory for 128 multiply-adds.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx

from codegen.kernels.cuda.stage import Stage
from codegen.kernels.cuda.tile import Tile
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.kernels.math import f32
from codegen.kernels.writer import Lane
from codegen.loops import Expr

UNROLLED = 1024
"""Multiply-adds of a thread that are written out one after another, at most."""


class Sums:
    """What a thread sums: some rows, in its lane of some blocks of columns."""

    def __init__(self, w: Writer, tile: Tile, warp: Expr) -> None:
        self._w, self.warp = w, warp
        self._height, self._blocks = tile.height, tile.blocks
        self._depth = tile.size.depth
        self._steps = min(self._depth, UNROLLED // tile.sums // 8 * 8)
        self._array = w.local(tile.sums)
        with w.unrolled(tile.sums) as i:
            w.store(self._array, f32(0), i)

    def add(self, rows: Stage, columns: Stage) -> None:
        """Add all products of a chunk."""
        w, steps = self._w, self._steps
        with w.serial(self._depth // steps) as i, w.unrolled(steps) as j:
            step = i * steps + j
            row, column = w.local(self._height), w.local(self._blocks)
            with w.unrolled(self._height // 4) as i:
                four = rows.read(step, self.warp * self._height + 4 * i, 4)
                w.store(row, four, tirx.Ramp(4 * i, 1, 4))
            with w.unrolled(self._blocks) as j:
                w.store(column, columns.read(step, j * WARP + w.lane), j)
            with self.each() as (i, j):
                place = i * self._blocks + j
                w.store(self._array, self._array[place] + row[i] * column[j], place)

    @contextmanager
    def each(self) -> Iterator[tuple[Expr, Expr]]:
        """For each of the thread's rows and blocks of columns."""
        with self._w.unrolled(self._height) as i, self._w.unrolled(self._blocks) as j:
            yield i, j

    def at(self, i: Expr, j: Expr) -> Lane:
        """One of the sums."""
        return lambda lane: self._array[i * self._blocks + j]
