"""A tile of sums that stays in the registers of threads.

A step reads each of a thread's columns once and its rows by broadcasts: with 16 rows and eight
blocks of columns, 12 reads of shared memory for 128 multiply-adds.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx

from codegen.kernels.cuda.operand import Part, Run
from codegen.kernels.cuda.simt.stage import Stage
from codegen.kernels.cuda.simt.tile import SimtTile
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.kernels.math import f32
from codegen.kernels.writer import Lane
from codegen.loops import Expr

UNROLLED = 1024
"""Multiply-adds of a thread that are written out one after another, at most."""


class Sums:
    """What a thread sums: some rows, in its lane of some blocks of columns."""

    def __init__(self, w: Writer, tile: SimtTile, runs: tuple[Run, Run], warp: Expr) -> None:
        self._w, self._warp = w, warp
        self._height, self._blocks = tile.height, tile.blocks
        self._depth = tile.size.depth
        self._steps = min(self._depth, UNROLLED // tile.sums // 8 * 8)
        self._array = w.local(tile.sums)
        with w.unrolled(tile.sums) as i:
            w.store(self._array, f32(0), i)
        rows, columns = runs
        self._rows = Stage(w, tile, tile.rows, rows)
        self._columns = Stage(w, tile, tile.columns, columns)

    def add(self, part: Part) -> None:
        """Add all products of a part, a chunk at a time, each while the next one is on its way."""
        w = self._w
        # One buffer: the next chunk waits in registers. Two would save no barrier, as TVM puts one
        # between reading an array and writing it, whatever the indices.
        with w.serial(part.end - part.begin + 1) as i:
            number = part.begin + i
            with w.when(number < part.end):
                rows, columns = part.at(number)
                self._rows.load(self._warp, rows)
                self._columns.load(self._warp, columns)
            with w.when(i > 0):
                self._add_chunk()
            w.barrier()
            with w.when(number < part.end):
                self._rows.put(self._warp)
                self._columns.put(self._warp)
            w.barrier()

    def _add_chunk(self) -> None:
        w, steps = self._w, self._steps
        with w.serial(self._depth // steps) as i, w.unrolled(steps) as j:
            step = i * steps + j
            row, column = w.local(self._height), w.local(self._blocks)
            with w.unrolled(self._height // 4) as i:
                four = self._rows.read(step, self._warp * self._height + 4 * i, 4)
                w.store(row, four, tirx.Ramp(4 * i, 1, 4))
            with w.unrolled(self._blocks) as j:
                w.store(column, self._columns.read(step, j * WARP + w.lane), j)
            with self._each() as (i, j):
                place = i * self._blocks + j
                w.store(self._array, self._array[place] + row[i] * column[j], place)

    @contextmanager
    def each(self, together: int) -> Iterator[tuple[Expr, Expr, Lane]]:
        """For each of the thread's sums, which are all of one lane: its row and block of columns
        within the tile, the sum."""
        with self._each() as (i, j):
            place = i * self._blocks + j
            yield self._warp * self._height + i, j, lambda lane: self._array[place]

    @contextmanager
    def _each(self) -> Iterator[tuple[Expr, Expr]]:
        with self._w.unrolled(self._height) as i, self._w.unrolled(self._blocks) as j:
            yield i, j
