"""Launches whose blocks look at a patch of values twice, through shared memory.

A block takes some maps and a rectangle of results. First its threads put what lies under the
rectangle into shared memory, the source; when all have, they compute the results from there.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from math import prod

from tvm import tirx

from codegen.kernels.cuda.writer import WARP, Writer
from codegen.kernels.memory import Home
from codegen.kernels.ranges import Range, largest, least
from codegen.loops import Expr

Shape = tuple[int, ...]
WARPS = 8
_LARGEST = 16  # rows or columns of a patch
_SHARED = 48 * 1024 // WARP  # bytes of every lane that a block has room for

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
        self.maps, self.extents = shape[1], shape[2:]
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


@dataclass(frozen=True)
class Cost:
    """What a patch takes: bytes of a lane in shared memory, and time in any unit."""

    shared: int
    time: float


def best(
    shape: Shape, span: Span, maps: Iterable[int], cost: Callable[[Layout], Cost]
) -> Layout | None:
    """The layout with the least time for each result; None if none fits into shared memory."""
    found, least_time = None, float("inf")
    rows, columns = (range(1, min(_LARGEST, extent) + 1) for extent in shape[2:])
    for size in map(lambda each: Size(*each), product(maps, rows, columns)):
        layout = Layout(shape, size, span)
        takes = cost(layout)
        time = takes.time / (size.maps * size.rows * size.columns)
        if takes.shared <= _SHARED and time < least_time:
            found, least_time = layout, time
    return found


def turns(cells: int, lanes: int) -> int:
    """How often a block's threads, of so many lanes each, go over some positions."""
    return -(-cells // (WARPS * lanes))


# ---------------------------------------------------------------------------- a block's own


@dataclass(frozen=True)
class Box:
    """Maps, rows and columns from `begin` to `end`, of which there are at most `extents`."""

    extents: tuple[int, ...]
    begin: tuple[Expr, ...]
    end: tuple[Expr, ...]


class Patch:
    """A block's own: the boxes of its `results` and of the `source` under them."""

    def __init__(self, w: Writer, layout: Layout, at: list[Expr], row: Expr) -> None:
        self.w, self._row, self._maps = w, row, layout.maps
        self.block, strip, *numbers = at
        size, first = layout.size, strip * layout.size.maps
        results = [layout.results(axis, numbers[axis]) for axis in (0, 1)]
        source = [layout.source(axis, numbers[axis]) for axis in (0, 1)]
        maps = first, first + size.maps
        self.results = self._box((size.maps, size.rows, size.columns), [maps, *results])
        self.source = self._box((size.maps, *layout.under), [maps, *source])

    def wider(self, box: Box, before: int, after: int) -> Box:
        """The same with some maps more, as far as there are any."""
        (maps, *extents), (first, *begin), (last, *end) = box.extents, box.begin, box.end
        ranges = [(largest(first - before, 0), least(last + after, self._maps))]
        ranges += zip(begin, end, strict=True)
        return self._box((maps + before + after, *extents), ranges)

    def array(self, box: Box, dtype: str) -> "Shared":
        """Shared memory for the values of a box, such as TIR_DTYPE of a node's."""
        return Shared(self.w, self.w.shared(*box.extents, WARP, dtype=dtype), box)

    @contextmanager
    def spread(self, lanes: int) -> Iterator[None]:
        """Have threads go over boxes with more lanes each meanwhile."""
        row, rows = self._row, lanes // self.w.lanes
        with self.w.spread(lanes) as part:
            self._row = row * rows + part
            yield
        self._row = row

    @contextmanager
    def each(self, box: Box, maps: int = 1) -> Iterator[list[Expr]]:
        """Every (block, map, row, column) of a box, once among all rows of threads; or the first of
        so many maps each time."""
        w, rows = self.w, WARPS * self.w.lanes
        extents = (box.extents[0] // maps, *box.extents[1:])
        with w.serial(turns(prod(extents), w.lanes)) as turn:
            cell = turn * rows + self._row
            with w.when(cell < prod(extents)):
                strip, *pixel = w.indices(cell, extents)
                at = [i + begin for i, begin in zip((strip * maps, *pixel), box.begin, strict=True)]
                inside = [index < end for index, end in zip(at, box.end, strict=True)]
                with w.when(tirx.all(*inside)):
                    yield [self.block, *at]

    def _box(self, extents: tuple[int, ...], ranges: list[Range]) -> Box:
        begin, end = (tuple(map(self.w.fixed, bounds)) for bounds in zip(*ranges, strict=True))
        return Box(extents, begin, end)


class Shared(Home):
    """Values of a box in shared memory, by their index in the whole."""

    def __init__(self, w: Writer, array: object, box: Box) -> None:
        super().__init__(w, array, self._inside)
        self._box = box

    def _inside(self, index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        _, *cell, lane = index
        return *(i - begin for i, begin in zip(cell, self._box.begin, strict=True)), lane


@contextmanager
def patches(w: Writer, layout: Layout, lanes: int) -> Iterator[Patch]:
    """A launch of a block for every patch of every block of images, with so many lanes a thread."""
    with w.launch(prod(layout.counts), WARPS, lanes) as (number, row):
        yield Patch(w, layout, w.indices(number, layout.counts), row)
