"""A strip of columns: its maps are taken in one by one, values of the last few are kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tvm import tirx

from codegen.kernels.attributes import integer
from codegen.kernels.cpu.stage import Stage
from codegen.kernels.cpu.writer import LANES
from codegen.kernels.formula import Formula
from codegen.kernels.math import f32
from codegen.kernels.writer import Lane
from codegen.loops import Expr

SPAN = 16
"""Maps between two moves of what is kept."""


class Strip:
    """Some columns of all maps of one group, in one row, so wide that `rows` of them fit."""

    def __init__(self, s: Stage, rows: Callable[[Formula], int]) -> None:
        self.s, self.formula = s, Formula(s.node)
        self.maps = s.node.type.shape[1] // integer(s.node, "groups")
        self._width = s.node.type.shape[3]
        # Rows so long that memory is read ahead of them; what is kept is in the second cache then.
        most = s.writer.target.tuning.cached // 4
        fitting = max(1, most // (4 * LANES * rows(self.formula)))
        self._count = -(-self._width // fitting)
        self.columns = -(-self._width // self._count)
        self._at: tuple[Expr, Expr, Expr] = (0, 0, 0)

    @contextmanager
    def each(self) -> Iterator[None]:
        """Once for every row, group and strip that are asked for."""
        s = self.s
        with s.every_row() as i, s.every(s.maps // self.maps, self._count) as (g, strip):
            self._at = s.first_map + g * self.maps, i, strip * self.columns
            yield

    @contextmanager
    def every_column(self) -> Iterator[Expr]:
        """Loop over the columns of the strip."""
        rest = self._width - self._at[2]
        whole = self._width % self.columns == 0
        with self.s.writer.serial(self.columns if whole else tirx.min(self.columns, rest)) as j:
            yield j

    @contextmanager
    def every_map(self, count: int, *kept: "Kept") -> Iterator[tuple[Expr, Expr]]:
        """Loop over so many steps. Yields a step and its number since what is kept was moved."""
        w = self.s.writer
        with w.serial(-(-count // SPAN)) as span:
            rest = SPAN if count % SPAN == 0 else tirx.min(SPAN, count - span * SPAN)
            with w.serial(rest) as k:
                yield span * SPAN + k, k
            for each in kept:
                each.move()

    def at(self, c: Expr, j: Expr) -> tuple[Expr, Expr, Expr]:
        """Where a map and a column of the strip are in the image."""
        first, i, column = self._at
        return first + c, i, column + j

    def operand(self, place: int, c: Expr, j: Expr) -> Lane:
        """An operand there; beyond the last map, anything."""
        inside = tirx.min(c, self.maps - 1)
        return self.s.register(self.s.operand(place, *self.at(inside, j)))

    def prefetch(self, place: int, c: Expr, j: Expr) -> None:
        """Have an operand of the map after c at hand when it is needed: a row is too short for the
        processor to foresee that it goes on elsewhere."""
        self.s.prefetch(place, *self.at(tirx.min(c + 1, self.maps - 1), j))

    def within(self, c: Expr, value: Lane) -> Lane:
        """A value; 0 beyond the last map."""
        return lambda lane: tirx.Select(c < self.maps, value(lane), f32(0))


class Kept:
    """Rows of the last maps: of `back` and one more, and of as many as a span has."""

    def __init__(self, strip: Strip, back: int) -> None:
        self.strip, self._back, self.w = strip, back, strip.s.writer
        self._array = self.w.scratch(SPAN + back, strip.columns, LANES)

    def clear(self, rows: int) -> None:
        """Before the first map there are zeros."""
        with self.w.serial(rows) as row, self.strip.every_column() as j:
            self._set(row, j, lambda lane: f32(0))

    def move(self) -> None:
        """Make room for the next span."""
        with self.w.serial(self._back) as row, self.strip.every_column() as j:
            self._set(row, j, lambda lane: self._array[row + SPAN, j, lane])

    def put(self, k: Expr, j: Expr, value: Lane) -> None:
        """Set a vector of the newest map in the span's step k."""
        self._set(k + self._back, j, value)

    def at(self, k: Expr, back: int, j: Expr) -> Lane:
        """A vector of an older one."""
        return lambda lane: self._array[k + (self._back - back), j, lane]

    def total(self, k: Expr, size: int, j: Expr) -> Lane:
        """The sum over the newest ones, pair by pair."""

        def summed(lane: Expr) -> Expr:
            terms = [self.at(k, back, j)(lane) for back in range(size)]
            while len(terms) > 1:
                pairs = zip(terms[::2], terms[1::2], strict=False)
                terms = [a + b for a, b in pairs] + terms[len(terms) // 2 * 2 :]
            return terms[0]

        return summed

    def _set(self, row: Expr, j: Expr, value: Lane) -> None:
        with self.w.lanes() as lane:
            self.w.put(self._array, value(lane), row, j, lane)
