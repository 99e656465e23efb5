"""The micro-kernel of all contractions: a tile of sums that stays in registers.

A tile is rows x columns vectors of 16 lanes. Each step adds (a scalar per row) x (a vector per
column). Per step it loads rows + columns values for rows * columns multiply-adds.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product

from tvm import tirx

from codegen.kernels.cpu.writer import LANES, Writer
from codegen.kernels.memory import Scratch
from codegen.kernels.ranges import Range
from codegen.kernels.writer import Lane
from codegen.loops import Expr

HEIGHTS = (8, 6, 4, 16, 3, 2, 1)
"""Rows that a tile may have; of two that do as much per load the first, with fewer vectors."""


@dataclass(frozen=True)
class Run:
    """`count` pieces of one `size`, one after another from `begin`; the first has a `number`."""

    begin: int
    size: int
    count: int
    number: int = 0

    @contextmanager
    def each(self, w: Writer) -> Iterator[Expr]:
        """A loop over the pieces. Yields where each begins; a number where there is but one."""
        if self.count == 1:
            yield self.begin
        else:
            with w.serial(self.count) as i:
                yield self.begin + i * self.size

    @contextmanager
    def some(self, w: Writer, numbers: Range) -> Iterator[tuple[Expr, Expr]]:
        """A loop over those of the pieces of some numbers. Yields number and beginning."""
        low, high = (w.let(tirx.max(0, tirx.min(self.count, n - self.number))) for n in numbers)
        with w.serial(high - low, low) as i:
            yield self.number + i, self.begin + i * self.size


def pieces(total: int, most: int) -> list[Run]:
    """Cut a range into near-equal pieces of at most `most`, the larger ones first."""
    count = -(-total // most)
    size, larger = divmod(total, count)
    split = larger * (size + 1)
    runs = (Run(0, size + 1, larger), Run(split, size, count - larger, larger))
    return [run for run in runs if run.count]


def best_shape(accumulators: int, rows: int, columns: int, taps: int = 1) -> tuple[int, int]:
    """The (rows, columns) of a tile that does most per load, for a result of this extent.

    Of several adjacent taps neighbours share vectors, which then stay in registers, too.
    """
    shapes = [(r, _most_columns(accumulators, r, taps)) for r in HEIGHTS if r <= accumulators]

    def work_per_load(shape: tuple[int, int]) -> float:
        r = rows / sum(run.count for run in pieces(rows, shape[0]))
        c = columns / sum(run.count for run in pieces(columns, shape[1]))
        return taps * r * c / (taps * r + c + taps - 1)

    return max(shapes, key=work_per_load)


def _most_columns(accumulators: int, rows: int, taps: int) -> int:
    """Beside sums a third as many registers are left: for the vectors of a row, and a scalar."""
    most = accumulators // rows
    return most if taps == 1 else max(1, min(most, (accumulators * 4 // 3 - 1) // (rows + 1)))


def places(first: Expr, rows: int, *, within: bool) -> list[tuple[Expr, Expr]]:
    """Block and lane of adjacent elements of axis 0; all lie `within` a block, or they may not.

    Within one, a single address serves all.
    """
    starts = [(first, m) if within else (first + m, 0) for m in range(rows)]
    return [(start // LANES, start % LANES + m) for start, m in starts]


VECTOR = tirx.Ramp(0, 1, LANES)
"""All lanes at once, as the last index of an array."""

At = Callable[[int, int], tuple[Expr, ...]]
"""Where the vector of a row and a column of a tile lies in an array."""


class Tile:
    """Sums of rows x columns vectors, zero at first."""

    def __init__(self, w: Writer, rows: int, columns: int) -> None:
        self._w = w
        # An array each: TVM would put a large one on the heap.
        self._sums = {at: w.local(LANES) for at in product(range(rows), range(columns))}
        for total in self._sums.values():
            w.store(total, tirx.Broadcast(tirx.const(0, "float32"), LANES), VECTOR)

    def add(self, scalars: Sequence[Expr], vectors: Sequence[Lane | None]) -> None:
        """sums[m, n] += scalars[m] * vectors[n]; nothing where a vector is None."""
        rows = [tirx.Broadcast(self._w.let(scalar, "float32"), LANES) for scalar in scalars]
        self._multiply(rows, [vector and self._held(vector) for vector in vectors])

    def multiply(self, rows: Sequence[Lane], columns: Sequence[Lane]) -> None:
        """sums[m, n] += rows[m] * columns[n], lane by lane."""
        self._multiply([self._held(row) for row in rows], [self._held(v) for v in columns])

    def _held(self, vector: Lane) -> Expr:
        return self._w.let(vector(VECTOR), f"float32x{LANES}")

    def _multiply(self, rows: Sequence[Expr], columns: Sequence[Expr | None]) -> None:
        for (m, n), total in self._sums.items():
            if columns[n] is not None:
                self._w.store(total, total[VECTOR] + rows[m] * columns[n], VECTOR)

    def resume(self, array: Scratch, at: At) -> None:
        """Go on with sums that were kept in an array."""
        for place, total in self._sums.items():
            self._w.store(total, array[(*at(*place), VECTOR)], VECTOR)

    def keep(self, array: Scratch, at: At) -> None:
        """Store every sum in an array."""
        for place, total in self._sums.items():
            self._w.put(array, total[VECTOR], *at(*place), VECTOR)

    def keep_added(self, array: Scratch, at: At) -> None:
        """Add every sum to what is in an array."""
        for place, total in self._sums.items():
            before = array[(*at(*place), VECTOR)]
            self._w.put(array, before + total[VECTOR], *at(*place), VECTOR)


def clear(w: Writer, array: Scratch) -> None:
    """Make an array zero whose last axis is a multiple of 16."""
    *outer, last = array.shape
    with each(w, (*outer, last // LANES)) as (*at, block), w.lanes() as lane:
        w.put(array, tirx.const(0, "float32"), *at, block * LANES + lane)


@contextmanager
def each(w: Writer, extents: Sequence[int]) -> Iterator[tuple[Expr, ...]]:
    """Nested loops over all indices."""
    with ExitStack() as loops:
        yield tuple(loops.enter_context(w.serial(extent)) for extent in extents)
