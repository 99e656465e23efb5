"""The adjoints of pooling. Where all maxima of a window count, pixels gather (`gather.py`); else
every window scatters into a plane of one map.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

from tvm import tirx

from codegen.kernels.cpu import window
from codegen.kernels.cpu.gather import Gather
from codegen.kernels.cpu.maxima import MAXIMA
from codegen.kernels.cpu.stage import Maker, Stage
from codegen.kernels.cpu.writer import LANES, Writer
from codegen.kernels.geometry import Geometry
from codegen.kernels.math import f32
from codegen.kernels.ranges import Range, difference, largest, least
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from ir.graph import Node


def _max_pool_dx(s: Stage) -> None:
    if s.node.attrs["ties"] == "first":
        _scatter(s, 1, _to_first)
    else:
        Gather(s).write()


# ---------------------------------------------------------------------------- scattering

Share = Callable[[Geometry, Expr, Expr, Expr, "_Plane"], None]
"""Adds to the pixels of a plane what window (i, j) of map c gives them."""


def _scatter(s: Stage, dy: int, share: Share) -> None:
    """Every window that meets the rows asked for gives its pixels their shares."""
    w = s.writer
    down, across = s.node.inputs[dy].type.shape[2:]
    geometry = Geometry(s.node, s.node.type.shape[2:])
    plane = _Plane(s)
    with s.every_map() as c:
        plane.clear()
        with _each(w, geometry.windows(0, s.rows, down)) as i, s.every(across) as (j,):
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


def _to_first(geometry: Geometry, c: Expr, i: Expr, j: Expr, plane: _Plane) -> None:
    """The first maximum in row order gets it: what is left to give is 0 from there on."""
    s, w, taps = plane.s, plane.s.writer, geometry.taps(i, j)
    most, left = s.register(s.operand(MAXIMA, c, i, j)), w.local(LANES)
    given, dy = w.local(LANES), s.operand(1, c, i, j)
    with w.lanes() as lane:
        w.store(left, dy(lane), lane)
    with _each(w, taps[0]) as row, _each(w, taps[1]) as column:
        x = s.register(s.operand(0, c, row, column))
        with w.lanes() as lane:
            w.store(given, tirx.Select(x(lane) == most(lane), left[lane], f32(0)), lane)
        with w.lanes() as lane:
            w.store(left, tirx.Select(x(lane) == most(lane), f32(0), left[lane]), lane)
        with w.when(tirx.all(row >= s.rows[0], row < s.rows[1])):
            plane.add(lambda i: given[i], row, column)


def _avg_pool_dx(s: Stage) -> None:
    def share(geometry: Geometry, c: Expr, i: Expr, j: Expr, plane: _Plane) -> None:
        taps, dy = geometry.taps(i, j), s.operand(0, c, i, j)
        part = s.register(lambda lane: dy(lane) / window.count(taps))
        with _each(s.writer, plane.inside(taps[0])) as row, _each(s.writer, taps[1]) as column:
            plane.add(part, row, column)

    _scatter(s, 0, share)


def _each(w: Writer, indices: Range) -> AbstractContextManager[Expr]:
    return w.serial(difference(indices[1], indices[0]), indices[0])


def rows_of(node: Node, place: int, rows: Range) -> Range:
    """The rows of an operand that some rows of an adjoint need: of the gradient and of the maxima
    those of the windows; of x these only, or, where windows scatter, all that the windows have."""
    geometry = Geometry(node, node.type.shape[2:])
    if node.op == "max_pool_dx" and place == 0:
        windows = geometry.windows(0, rows, node.inputs[1].type.shape[2])
        return rows if node.attrs["ties"] == "all" else window.spanned(geometry, windows)
    return geometry.windows(0, rows, node.inputs[place].type.shape[2])


MAKERS: dict[str, Maker] = {"max_pool_dx": _max_pool_dx, "avg_pool_dx": _avg_pool_dx}
