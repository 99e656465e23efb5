"""The adjoint of max_pool where all maxima of a window get its gradient: every pixel gathers from
the windows it lies in.
"""

from typing import Any

from tvm import tirx

from codegen.kernels.cpu.maxima import MAXIMA
from codegen.kernels.cpu.stage import Stage
from codegen.kernels.cpu.writer import LANES
from codegen.kernels.geometry import Geometry
from codegen.kernels.math import f32
from codegen.kernels.ranges import Range, difference, least
from codegen.kernels.writer import Lane
from codegen.loops import Expr

_TAPS = 4  # windows along an axis that a pixel may lie in, to be written out


class Gather:
    """Of max_pool_dx: every pixel adds up dy of the windows of which it is a maximum.

    Pixels side by side that lie in the same windows, but for the last ones, are a stride; those of
    an edge are written out one by one.
    """

    def __init__(self, s: Stage) -> None:
        self.s, self.geometry = s, Geometry(s.node, s.node.type.shape[2:])
        self._down, self._across = s.node.inputs[1].type.shape[2:]
        self._width, self._left = s.node.type.shape[3], self.geometry.before[1]
        self._reach = (self.geometry.window[1] - 1) // self.geometry.stride[1]
        self._most_rows = -(-self.geometry.window[0] // self.geometry.stride[0])

    def write(self) -> None:
        """Put every pixel."""
        s = self.s
        with s.every_map() as c, s.every_row() as i:
            rows = self.geometry.windows(0, (i, i + 1), self._down)
            first, end = (s.writer.let(bound) for bound in rows)
            if max(self._reach, self._most_rows) <= _TAPS:
                for count in range(self._most_rows + 1):
                    with s.writer.when(end - first == count):
                        self._row([first + n for n in range(count)], c, i)
            else:
                with s.every(self._width) as (j,):
                    self._pixel((first, end), c, i, j)

    def _row(self, rows: list[Expr], c: Expr, i: Expr) -> None:
        step = self.geometry.stride[1]
        first, last = self._left // step, -(-(self._width + self._left) // step)
        # All pixels of these exist, and all windows that they may lie in.
        begin = max(self._reach, -(-self._left // step))
        end = max(begin, min(self._across, (self._width + self._left) // step))
        for number in (*range(first, min(begin, last)), *range(end, last)):
            self._stride(rows, c, i, number)
        with self.s.writer.serial(end - begin, begin) as number:
            self._stride(rows, c, i, number)

    def _stride(self, rows: list[Expr], c: Expr, i: Expr, number: Expr) -> None:
        size, step = self.geometry.window[1], self.geometry.stride[1]
        for row in rows[-1:]:
            self._prefetch(c, row, number)
        first = number * step - self._left
        pixels = [n for n in range(step) if _exists(first + n, self._width)]
        found = {n: self.s.register(self.s.operand(0, c, i, first + n)) for n in pixels}
        totals = {n: self._zero() for n in pixels}
        for row in rows:
            for n in pixels:
                for column in (number - back // step for back in range(n, size, step)):
                    if _exists(column, self._across):
                        self._add(totals[n], found[n], c, row, column)
        for n, total in totals.items():
            self.s.put(lambda lane, total=total: total[lane], c, i, first + n)  # type: ignore[misc]

    def _prefetch(self, c: Expr, row: Expr, column: Expr) -> None:
        """Have the next map's dy at hand: memory goes on elsewhere there."""
        following = least(c + 1, self.s.first_map + self.s.maps - 1)
        self.s.prefetch(1, following, row, least(column, self._across - 1))

    def _pixel(self, rows: Range, c: Expr, i: Expr, j: Expr) -> None:
        """A pixel of any number of windows."""
        w = self.s.writer
        first, end = self.geometry.windows(1, (j, j + 1), self._across)
        total, x = self._zero(), self.s.register(self.s.operand(0, c, i, j))
        with (
            w.serial(difference(rows[1], rows[0]), rows[0]) as row,
            w.serial(difference(end, first), first) as column,
        ):
            self._add(total, x, c, row, column)
        self.s.put(lambda lane: total[lane], c, i, j)

    def _zero(self) -> Any:
        w = self.s.writer
        total = w.local(LANES)
        with w.lanes() as lane:
            w.store(total, f32(0), lane)
        return total

    def _add(self, total: Any, x: Lane, c: Expr, row: Expr, column: Expr) -> None:
        dy, most = (self.s.operand(place, c, row, column) for place in (1, MAXIMA))
        with self.s.writer.lanes() as lane:
            more = tirx.Select(x(lane) == most(lane), total[lane] + dy(lane), total[lane])
            self.s.writer.store(total, more, lane)


def _exists(index: Expr, extent: int) -> bool:
    """Whether an index is one of 0 .. extent - 1. Loops run over such ones only."""
    return not isinstance(index, int) or 0 <= index < extent
