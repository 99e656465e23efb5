"""Pooling over windows clipped to the image: rows of a window first, then columns, which windows
side by side share.
"""

from collections.abc import Callable
from math import inf, nan

from tvm import tirx

from codegen.kernels.cpu.stage import Maker, Stage
from codegen.kernels.cpu.writer import LANES
from codegen.kernels.geometry import Geometry, Taps
from codegen.kernels.math import f32, is_nan
from codegen.kernels.memory import Scratch
from codegen.kernels.ranges import Range, difference, least
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from ir.graph import Node

Step = Callable[[Expr, Expr], Expr]
"""How two values become one."""
Fold = Callable[[Stage, list[Lane]], Lane]
"""How several do."""


def _larger(a: Expr, b: Expr) -> Expr:
    """The maximum; NaN if there is one."""
    return tirx.Select(tirx.any(b > a, is_nan(b)), b, a)


def _maximum(s: Stage, terms: list[Lane]) -> Lane:
    """The same of several. The last one's NaN outlives TVM's maximum, others are looked for: in
    pairs, and by what is faster than `is_nan` but must be hidden from TVM, that x != x."""
    held = [s.register(term) for term in terms]
    most = held[0]
    for term in held[1:]:
        most = s.register(lambda i, a=most, b=term: tirx.max(a(i), b(i)))  # type: ignore[misc]
    pairs = [(term, s.register(term)) for term in held[:-1]]
    if not pairs:
        return most
    return s.register(
        lambda i: tirx.Select(tirx.any(*(a(i) != b(i) for a, b in pairs)), f32(nan), most(i))
    )


def _total(a: Expr, b: Expr) -> Expr:
    return a + b


def _sum(s: Stage, terms: list[Lane]) -> Lane:
    return s.register(lambda i: sum((term(i) for term in terms[1:]), terms[0](i)))


class _Pool:
    """Combines the elements of windows: one by one by `step`, beginning with `start`, or all."""

    def __init__(self, s: Stage, start: float, step: Step, fold: Fold) -> None:
        self.s, self._start, self._step, self._folded = s, f32(start), step, fold
        self.geometry = Geometry(s.node, s.node.inputs[0].type.shape[2:])
        self._across, self._width = s.node.type.shape[3], s.node.inputs[0].type.shape[3]
        self._left = self.geometry.before[1]
        last = (self._across - 1) * self.geometry.stride[1] + self.geometry.window[1]
        self._columns = max(last, self._left + self._width)

    def write(self, finish: Callable[[Lane, Taps], Lane]) -> None:
        """Put what `finish` makes of every window's result."""
        s = self.s
        row = s.writer.scratch(self._columns, LANES)
        self._clear_edges(row)
        with s.every_map() as c, s.every_row() as i:
            self._fold_rows(row, c, i)
            with s.every(self._across) as (j,):
                first = j * self.geometry.stride[1]
                columns = [first + n for n in range(self.geometry.window[1])]
                total = self._folded(s, [lambda lane, x=x: row[x, lane] for x in columns])  # type: ignore[misc]
                s.put(finish(total, self.geometry.taps(i, j)), c, i, j)

    def _clear_edges(self, row: Scratch) -> None:
        """Columns that are no pixels change nothing."""
        w, end = self.s.writer, self._left + self._width
        for begin, stop in ((0, self._left), (end, self._columns)):
            with w.serial(stop - begin, begin) as x, w.lanes() as lane:
                w.put(row, self._start, x, lane)

    def _fold_rows(self, row: Scratch, c: Expr, i: Expr) -> None:
        """Of every column, what the rows of a window have in it."""
        w, (top, bottom) = self.s.writer, self.geometry.pixels(0, i)
        count = difference(bottom, top)
        count = self.geometry.window[0] if self.geometry.whole[0] else count
        with self.s.every(self._width) as (x,):
            total = self._rows(c, top, count, x)
            self._prefetch(c, top, x)
            with w.lanes() as lane:
                w.put(row, total(lane), x + self._left, lane)

    def _prefetch(self, c: Expr, top: Expr, x: Expr) -> None:
        """Have at hand what is new in the next map's rows: memory goes on elsewhere there."""
        s, (size, step) = self.s, (self.geometry.window[0], self.geometry.stride[0])
        bottom = s.node.inputs[0].type.shape[2] - 1
        for n in range(max(0, size - step), size):
            s.prefetch(0, least(c + 1, s.first_map + s.maps - 1), least(top + n, bottom), x)

    def _rows(self, c: Expr, top: Expr, count: Expr, x: Expr) -> Lane:
        w, s = self.s.writer, self.s
        if isinstance(count, int):
            return self._folded(s, [s.operand(0, c, top + n, x) for n in range(count)])
        total = w.local(LANES)
        with w.lanes() as lane:
            w.store(total, self._start, lane)
        with w.serial(count, top) as y, w.lanes() as lane:
            w.store(total, self._step(total[lane], s.operand(0, c, y, x)(lane)), lane)
        return lambda lane: total[lane]


def _max_pool(s: Stage) -> None:
    _Pool(s, -inf, _larger, _maximum).write(lambda most, taps: most)


def _avg_pool(s: Stage) -> None:
    def mean(total: Lane, taps: Taps) -> Lane:
        return lambda lane: total(lane) / count(taps)

    _Pool(s, 0.0, _total, _sum).write(mean)


def count(taps: Taps) -> Expr:
    """How many pixels a window has."""
    (top, bottom), (left, right) = taps
    return tirx.Cast("float32", (bottom - top) * (right - left))


def rows_of(node: Node, place: int, rows: Range) -> Range:
    """The rows of an operand that some rows of a pool need."""
    return spanned(Geometry(node, node.inputs[place].type.shape[2:]), rows)


def spanned(geometry: Geometry, windows: Range) -> Range:
    """The rows of some windows."""
    first, end = windows
    return geometry.pixels(0, first)[0], geometry.pixels(0, end - 1)[1]


MAKERS: dict[str, Maker] = {"max_pool": _max_pool, "avg_pool": _avg_pool}
