"""A strip of columns: its maps are taken in one by one, values of the last few are kept."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from tvm import tirx

from codegen.kernels.attributes import integer
from codegen.kernels.cpu.stage import Stage
from codegen.kernels.cpu.writer import LANES
from codegen.kernels.formula import Formula
from codegen.kernels.math import f32
from codegen.kernels.ranges import least
from codegen.kernels.writer import Lane
from codegen.loops import Expr


class Strip:
    """Some columns of all maps of one group, in one row, so few that the rows of so many `Kept`
    stay in the nearest cache."""

    def __init__(self, s: Stage, kept: int) -> None:
        self.s, self.formula = s, Formula(s.node)
        self.maps = s.node.type.shape[1] // integer(s.node, "groups")
        self._width = s.node.type.shape[3]
        most = s.writer.target.tuning.near
        fitting = max(1, most // (4 * LANES * kept * self.formula.size))
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

    def every_map(self) -> Iterator[tuple[Expr, int]]:
        """Loop over all maps. Yields a map and the step that stands for it in `Kept`: written out
        as many times as a window has maps, so that what is kept has fixed places."""
        w, turn = self.s.writer, min(self.formula.size, self.maps)
        with w.serial(-(-self.maps // turn)) as span:
            for step in range(turn):
                c = span * turn + step
                with w.when(c < self.maps) if self.maps % turn else nullcontext():
                    yield c, step

    def at(self, c: Expr, j: Expr) -> tuple[Expr, Expr, Expr]:
        """Where a map and a column of the strip are in the image."""
        first, i, column = self._at
        return first + c, i, column + j

    def operand(self, place: int, c: Expr, j: Expr) -> Lane:
        """An operand there; beyond the last map, anything."""
        return self.s.register(self.s.operand(place, *self.at(least(c, self.maps - 1), j)))

    def prefetch(self, place: int, c: Expr, j: Expr) -> None:
        """Have an operand of the map after c at hand when it is needed: a row is too short for the
        processor to foresee that it goes on elsewhere."""
        self.s.prefetch(place, *self.at(least(c + 1, self.maps - 1), j))

    def within(self, c: Expr, value: Lane) -> Lane:
        """A value; 0 beyond the last map."""
        return lambda lane: tirx.Select(c < self.maps, value(lane), f32(0))


class Kept:
    """Rows of the last maps, as many as a window has. Each step overwrites the oldest; those before
    the first are negative."""

    def __init__(self, strip: Strip) -> None:
        self.strip, self.w, self._rows = strip, strip.s.writer, strip.formula.size
        self._array = self.w.scratch(self._rows, strip.columns, LANES)

    def clear(self, first: int, count: int) -> None:
        """Zeros for so many steps from the first on."""
        for step in range(first, first + count):
            with self.strip.every_column() as j:
                self.put(step, j, lambda lane: f32(0))

    def put(self, step: int, j: Expr, value: Lane) -> None:
        """Set a vector of a step."""
        with self.w.lanes() as lane:
            self.w.put(self._array, value(lane), step % self._rows, j, lane)

    def at(self, step: int, j: Expr) -> Lane:
        """A vector of a step."""
        return lambda lane: self._array[step % self._rows, j, lane]

    def total(self, step: int, j: Expr) -> Lane:
        """The sum over a window, whose last step this is, pair by pair."""

        def summed(lane: Expr) -> Expr:
            terms = [self.at(step - back, j)(lane) for back in range(self._rows)]
            while len(terms) > 1:
                pairs = zip(terms[::2], terms[1::2], strict=False)
                terms = [a + b for a, b in pairs] + terms[len(terms) // 2 * 2 :]
            return terms[0]

        return summed
