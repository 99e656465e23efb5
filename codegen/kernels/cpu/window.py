"""Pooling over windows clipped to the image; backward scatters into a plane of one map."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tvm import tirx

from codegen.kernels.cpu.stage import Maker, Stage
from codegen.kernels.cpu.writer import LANES
from codegen.kernels.geometry import Geometry, Taps
from codegen.kernels.math import f32, is_nan
from codegen.kernels.ranges import Range, difference, largest, least
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from ir.graph import Node

_LOWEST = float("-inf")


@contextmanager
def _each(s: Stage, taps: Taps) -> Iterator[tuple[Expr, Expr]]:
    (top, bottom), (left, right) = taps
    with (
        s.writer.serial(difference(bottom, top), top) as row,
        s.writer.serial(difference(right, left), left) as column,
    ):
        yield row, column


def _fold(s: Stage, taps: Taps, at: Expr, start: float, step: Callable[[Expr, Expr], Expr]) -> Lane:
    """Combine operand 0 over a window."""
    w = s.writer
    total = w.local(LANES)
    with w.lanes() as lane:
        w.store(total, f32(start), lane)
    with _each(s, taps) as (row, column), w.lanes() as lane:
        w.store(total, step(total[lane], s.operand(0, at, row, column)(lane)), lane)
    return lambda lane: total[lane]


def _larger(a: Expr, b: Expr) -> Expr:
    """The maximum; NaN if there is one."""
    return tirx.Select(tirx.any(b > a, is_nan(b)), b, a)


def _count(taps: Taps) -> Expr:
    (top, bottom), (left, right) = taps
    return tirx.Cast("float32", (bottom - top) * (right - left))


def _pool(s: Stage, fold: Callable[[Taps, Expr], Lane]) -> None:
    channels, _, across = s.node.type.shape[1:]
    geometry = Geometry(s.node, s.node.inputs[0].type.shape[2:])
    with s.every(channels) as (c,), s.every_row() as i, s.every(across) as (j,):
        s.put(fold(geometry.taps(i, j), c), c, i, j)


def _max_pool(s: Stage) -> None:
    _pool(s, lambda taps, c: _fold(s, taps, c, _LOWEST, _larger))


def _avg_pool(s: Stage) -> None:
    def mean(taps: Taps, c: Expr) -> Lane:
        total = _fold(s, taps, c, 0.0, lambda a, b: a + b)
        return lambda lane: total(lane) / _count(taps)

    _pool(s, mean)


# ---------------------------------------------------------------------------- backward


def _scatter(
    s: Stage, dy: int, share: Callable[[Geometry, Expr, Expr, Expr, "_Plane"], None]
) -> None:
    """For every window that meets the rows asked for, `share` adds to the pixels of a plane."""
    w, channels = s.writer, s.node.type.shape[1]
    down, across = s.node.inputs[dy].type.shape[2:]
    geometry = Geometry(s.node, s.node.type.shape[2:])
    plane = _Plane(s)
    first, end = geometry.windows(0, s.rows, down)
    with s.every(channels) as (c,):
        plane.clear()
        with w.serial(difference(end, first), first) as i, s.every(across) as (j,):
            share(geometry, c, i, j, plane)
        plane.put(c)


class _Plane:
    """The rows asked for of one map, in scratch."""

    def __init__(self, s: Stage) -> None:
        self.s, self.width = s, s.node.type.shape[3]
        self._array = s.writer.scratch(s.most_rows, self.width, LANES)

    def clear(self) -> None:
        """All zero."""
        w = self.s.writer
        with self.s.every_row() as i, self.s.every(self.width) as (j,), w.lanes() as lane:
            w.put(self._array, f32(0), self._row(i), j, lane)

    def add(self, value: Lane, i: Expr, j: Expr) -> None:
        """Add to a pixel."""
        w = self.s.writer
        with w.lanes() as lane:
            old = self._array[self._row(i), j, lane]
            w.put(self._array, old + value(lane), self._row(i), j, lane)

    def put(self, c: Expr) -> None:
        """Hand on what has been summed up."""
        with self.s.every_row() as i, self.s.every(self.width) as (j,):
            self.s.put(lambda lane: self._array[self._row(i), j, lane], c, i, j)

    def _row(self, i: Expr) -> Expr:
        return difference(i, self.s.rows[0])

    def inside(self, rows: Range) -> Range:
        """The part of some rows that is asked for."""
        low, high = self.s.rows
        return largest(rows[0], low), least(rows[1], high)


def _max_pool_dx(s: Stage) -> None:
    rule = _to_first if s.node.attrs["ties"] == "first" else _to_all

    def share(geometry: Geometry, c: Expr, i: Expr, j: Expr, plane: _Plane) -> None:
        taps = geometry.taps(i, j)
        most = _fold(s, taps, c, _LOWEST, _larger)
        dy = s.register(s.operand(1, c, i, j))
        rule(s, taps, c, most, dy, plane)

    _scatter(s, 1, share)


def _to_all(s: Stage, taps: Taps, c: Expr, most: Lane, dy: Lane, plane: _Plane) -> None:
    """Every maximum gets the whole gradient."""
    with _each(s, (plane.inside(taps[0]), taps[1])) as (row, column):
        x = s.operand(0, c, row, column)
        plane.add(lambda i: tirx.Select(x(i) == most(i), dy(i), f32(0)), row, column)


def _to_first(s: Stage, taps: Taps, c: Expr, most: Lane, dy: Lane, plane: _Plane) -> None:
    """The first maximum in row order gets it: what is left to give is 0 from there on."""
    w = s.writer
    left, given = w.local(LANES), w.local(LANES)
    with w.lanes() as lane:
        w.store(left, dy(lane), lane)
    with _each(s, taps) as (row, column):
        x = s.operand(0, c, row, column)
        with w.lanes() as lane:
            w.store(given, tirx.Select(x(lane) == most(lane), left[lane], f32(0)), lane)
        with w.lanes() as lane:
            w.store(left, tirx.Select(x(lane) == most(lane), f32(0), left[lane]), lane)
        with w.when(tirx.all(row >= s.rows[0], row < s.rows[1])):
            plane.add(lambda i: given[i], row, column)


def _avg_pool_dx(s: Stage) -> None:
    def share(geometry: Geometry, c: Expr, i: Expr, j: Expr, plane: _Plane) -> None:
        taps = geometry.taps(i, j)
        dy = s.operand(0, c, i, j)
        part = s.register(lambda lane: dy(lane) / _count(taps))
        with _each(s, (plane.inside(taps[0]), taps[1])) as (row, column):
            plane.add(part, row, column)

    _scatter(s, 0, share)


# ---------------------------------------------------------------------------- rows


def rows_of(node: Node, place: int, rows: Range) -> Range:
    """The rows of an operand that some rows of a pool or of its adjoint need."""
    shape, operand = node.type.shape, node.inputs[place].type.shape
    if node.op in ("max_pool", "avg_pool"):
        return _spanned(Geometry(node, operand[2:]), rows)
    geometry = Geometry(node, shape[2:])
    down = node.inputs[-1].type.shape[2]
    windows = geometry.windows(0, rows, down)
    return windows if place == len(node.inputs) - 1 else _spanned(geometry, windows)


def _spanned(geometry: Geometry, windows: Range) -> Range:
    first, end = windows
    return geometry.pixels(0, first)[0], geometry.pixels(0, end - 1)[1]


MAKERS: dict[str, Maker] = {
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "max_pool_dx": _max_pool_dx,
    "avg_pool_dx": _avg_pool_dx,
}
