"""The pixels of a row of tiles as minimal filtering multiplies them: B^T x B."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from codegen.kernels.cpu import linear
from codegen.kernels.cpu.linear import ZERO, transform
from codegen.kernels.cpu.tile import VECTOR
from codegen.kernels.cpu.writer import LANES, Writer
from codegen.kernels.memory import Scratch
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.winograd.side import Kind
from codegen.loops import Expr


@dataclass(frozen=True)
class Strip:
    """`tiles` tiles from number `first` on in row `row` of tiles, in a block of images."""

    block: Expr
    row: Expr
    first: Expr
    tiles: Expr


At = Callable[[Expr, Expr], tuple[Expr, ...]]
"""Where a product of a tile lies in an array, but for its lanes."""


class Pixels:
    """Transforms strips of one source, one source map and phase at a time."""

    def __init__(self, w: Writer, phases: Phases, source: Any, tiles: int) -> None:
        """Reserve what strips of so many tiles take; call it inside `tasks`."""
        self._w, self._phases, self._source = w, phases, source
        self._half = w.scratch(phases.down.products, self._steps(tiles), LANES)

    def transform(
        self,
        strip: Strip,
        channel: Expr,
        phase: tuple[Expr, Expr],
        result: Scratch,
        at: At,
    ) -> None:
        """result[at(product, tile)] for all products and tiles of the strip."""
        w, down, across = self._w, self._phases.down, self._phases.across
        self._columns(strip, channel, phase)
        begin = w.let(across.start(strip.first))
        first = w.let(down.first(strip.row))
        for kind in across.kinds:
            matrix = kind.forward.input
            with self._tiles(strip, kind) as tile, w.serial(down.products - first, first) as i:
                x = w.let(across.start(strip.first + tile) - begin)
                vectors = [self._half[i, x + j, VECTOR] for j in range(len(matrix))]
                transform(w, matrix, vectors, result, self._row(at, i, tile), kind.first)

    def _steps(self, tiles: Expr) -> Expr:
        """Columns of so many tiles."""
        return tiles * self._phases.across.size + self._phases.across.taps - 1

    def _row(self, at: At, i: Expr, tile: Expr) -> linear.At:
        first = i * self._phases.across.products
        return lambda j: at(first + j, tile)

    @contextmanager
    def _tiles(self, strip: Strip, kind: Kind) -> Iterator[Expr]:
        """A loop over those of a strip that are of a kind, numbered in the strip."""
        w, across = self._w, self._phases.across
        if len(across.kinds) == 1:
            with w.serial(strip.tiles) as tile:
                yield tile
            return
        begin, end = (
            w.let(tirx.max(0, tirx.min(strip.tiles, each - strip.first)))
            for each in (kind.begin, kind.end)
        )
        with w.serial(end - begin, begin) as tile:
            yield tile

    def _columns(self, strip: Strip, channel: Expr, phase: tuple[Expr, Expr]) -> None:
        """Transform along the columns; what lies outside the image is zero."""
        w, down, across, half = self._w, self._phases.down, self._phases.across, self._half
        begin, steps = w.let(across.start(strip.first)), w.let(self._steps(strip.tiles))
        left, right = map(w.let, across.inside(begin, steps, phase[1]))
        with w.serial(down.products) as i:
            with w.serial(left) as x:
                w.put(half, ZERO, i, x, VECTOR)
            with w.serial(steps - right, right) as x:
                w.put(half, ZERO, i, x, VECTOR)
        for kind in down.kind(w, strip.row):
            matrix = kind.forward.input
            for rows in self._rows(strip, kind, phase[0]):
                with w.serial(right - left, left) as x:
                    column = across.pixel(begin + x, phase[1])
                    vectors = [
                        None
                        if row is None
                        else self._source[strip.block, channel, row, column, VECTOR]
                        for row in rows
                    ]
                    self._prefetch(strip, channel, rows, column + 1)
                    transform(w, matrix, vectors, half, lambda i: (i, x), kind.first)

    def _prefetch(self, strip: Strip, channel: Expr, rows: list[Expr], column: Expr) -> None:
        """With strides the next phase reads other vectors, too far apart to be foreseen."""
        across = self._phases.across
        if across.stride > 1:
            x = self._w.let(tirx.min(column, across.sources - 1))
            for row in (each for each in rows if each is not None):
                self._w.prefetch(self._source[strip.block, channel, row, x, 0])

    def _rows(self, strip: Strip, kind: Kind, phase: Expr) -> Iterator[list[Expr]]:
        """Write for each case which rows of pixels a tile reads; None for those outside."""
        w, down, count = self._w, self._phases.down, kind.forward.products
        top = w.let(down.start(strip.row))
        upper, lower = map(w.let, down.inside(top, count, phase))
        for begin, end in down.spans(kind):
            with w.when(tirx.all(upper == begin, lower == end)):
                within = range(begin, end)
                yield [down.pixel(top + j, phase) if j in within else None for j in range(count)]
