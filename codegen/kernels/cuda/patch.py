"""Launches whose blocks look at a patch of values twice, through shared memory.

A block takes some maps and a rectangle of results. First its threads put what lies under the
rectangle into shared memory, the source; when all have, they compute the results from there.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from tvm import tirx

from codegen.kernels.cuda.writer import WARP, Writer
from codegen.kernels.memory import Home
from codegen.kernels.ranges import Range, least
from codegen.loops import Expr

Shape = tuple[int, ...]
WARPS = 8
_LARGEST = 16  # rows or columns of a patch
_SHARED = 48 * 1024 // (4 * WARP)  # vectors that a block has room for

Span = Callable[[int, Range], Range]
"""Along an axis (0 down, 1 across), the source under some results."""


@dataclass(frozen=True)
class Size:
    """Of a patch: its maps, and rows and columns of results."""

    maps: int
    rows: int
    columns: int


class Layout:
    """How results of a shape [N,C,H,W] are cut into patches of a size."""

    def __init__(self, shape: Shape, size: Size, span: Span) -> None:
        self.size, self._span = size, span
        self.extents = shape[2:]
        self._lengths = size.rows, size.columns
        pairs = zip(self.extents, self._lengths, strict=True)
        self.counts = (
            -(-shape[0] // WARP),
            shape[1] // size.maps,
            *(-(-extent // n) for extent, n in pairs),
        )
        self.under = tuple(self._longest(axis) for axis in (0, 1))

    def results(self, axis: int, number: Expr) -> Range:
        """Those of the patches with a number along an axis."""
        first = number * self._lengths[axis]
        return first, least(first + self._lengths[axis], self.extents[axis])

    def source(self, axis: int, number: Expr) -> Range:
        """What lies under them."""
        return self._span(axis, self.results(axis, number))

    def _longest(self, axis: int) -> int:
        ranges = (self.source(axis, number) for number in range(self.counts[2 + axis]))
        return max(int(end - begin) for begin, end in ranges)


def best(
    shape: Shape,
    span: Span,
    maps: Iterable[int],
    *,
    reach: int = 0,
    arrays: int = 1,
    lanes: int = 1,
) -> Layout | None:
    """The layout with the least work for each result; None if none fits into shared memory.

    A thread makes its lanes of all maps of a position of the source at once, in `arrays` of shared
    memory; for that it looks at `reach` maps more.
    """
    found, least_work = None, float("inf")
    rows, columns = (range(1, min(_LARGEST, extent) + 1) for extent in shape[2:])
    for size in map(lambda each: Size(*each), product(maps, rows, columns)):
        layout = Layout(shape, size, span)
        turns = -(-prod(layout.under) // (WARPS * lanes))
        work = turns * (size.maps + reach) / (size.maps * size.rows * size.columns)
        fits = arrays * size.maps * prod(layout.under) <= _SHARED
        if fits and work < least_work:
            found, least_work = layout, work
    return found


class Patch:
    """A block's own."""

    def __init__(self, w: Writer, layout: Layout, at: list[Expr], row: Expr) -> None:
        self.w, self._layout, self._row = w, layout, row
        self.block, strip, *numbers = at
        self.first = w.fixed(strip * layout.size.maps)
        self.results = [self._fixed(layout.results(axis, numbers[axis])) for axis in (0, 1)]
        self.source = [self._fixed(layout.source(axis, numbers[axis])) for axis in (0, 1)]

    def array(self, dtype: str = "float32") -> "Shared":
        """Shared memory for a value of the source."""
        shape = self._layout.size.maps, *self._layout.under, WARP
        return Shared(self, self.w.shared(*shape, dtype=dtype))

    @contextmanager
    def each_source(self) -> Iterator[list[Expr]]:
        """Every (row, column) of the source, once among all rows of threads."""
        with self._each(self._layout.under) as cell:
            at = [index + begin for index, (begin, _) in zip(cell, self.source, strict=True)]
            inside = [index < end for index, (_, end) in zip(at, self.source, strict=True)]
            with self.w.when(tirx.all(*inside)):
                yield at

    @contextmanager
    def each_result(self) -> Iterator[list[Expr]]:
        """Every (block, map, row, column) of the results, once among all rows of threads."""
        size = self._layout.size
        with self._each((size.maps, size.rows, size.columns)) as (m, *cell):
            at = [index + begin for index, (begin, _) in zip(cell, self.results, strict=True)]
            inside = [index < end for index, (_, end) in zip(at, self.results, strict=True)]
            with self.w.when(tirx.all(*inside)):
                yield [self.block, self.first + m, *at]

    @contextmanager
    def _each(self, extents: tuple[int, ...]) -> Iterator[list[Expr]]:
        w, count, rows = self.w, prod(extents), WARPS * self.w.lanes
        with w.serial(-(-count // rows)) as turn:
            cell = turn * rows + self._row
            with w.when(cell < count):
                yield w.indices(cell, extents)

    def _fixed(self, range_: Range) -> Range:
        begin, end = range_
        return self.w.fixed(begin), self.w.fixed(end)


class Shared(Home):
    """Values of a patch's source, by their index in the whole."""

    def __init__(self, patch: Patch, array: Any) -> None:
        super().__init__(patch.w, array)
        self._patch = patch

    def _within(self, index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        (top, _), (left, _) = self._patch.source
        _, c, row, column, lane = index
        return c - self._patch.first, row - top, column - left, lane


@contextmanager
def patches(w: Writer, layout: Layout, lanes: int) -> Iterator[Patch]:
    """A launch of a block for every patch of every block of images, with so many lanes a thread."""
    with w.launch(prod(layout.counts), WARPS, lanes) as (number, row):
        yield Patch(w, layout, w.indices(number, layout.counts), row)
