"""The adjoints of pooling. Every pixel gathers from the windows it lies in, or, where the first
maximum gets all, every window scatters into a plane of one map.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tvm import tirx

from codegen.kernels.cpu import window
from codegen.kernels.cpu.maxima import MAXIMA
from codegen.kernels.cpu.stage import Maker, Stage
from codegen.kernels.cpu.writer import LANES, Writer
from codegen.kernels.geometry import Geometry
from codegen.kernels.math import f32
from codegen.kernels.ranges import Range, difference, largest, least
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from ir.graph import Node

# ---------------------------------------------------------------------------- gathering

_TAPS = 4  # windows along an axis that a pixel may lie in, to be written out


class _Gather:
    """Of max_pool_dx: every pixel adds up dy of the windows of which it is a maximum."""

    def __init__(self, s: Stage) -> None:
        self.s, self.geometry = s, Geometry(s.node, s.node.type.shape[2:])
        self._down, across = s.node.inputs[1].type.shape[2:]
        stride, left = self.geometry.stride[1], self.geometry.before[1]
        width, reach = s.node.type.shape[3], (self.geometry.window[1] - 1) // stride
        # Of strides of pixels [begin, end), each lies in windows that there are.
        begin = max(reach, -(-left // stride))
        end = min(across, (width + left) // stride)
        self._most_rows = -(-self.geometry.window[0] // self.geometry.stride[0])
        few = max(reach, self._most_rows) <= _TAPS
        begin, end = (begin, end) if few and begin < end else (0, 0)
        self._inner = begin, end
        self._edges = (0, max(0, begin * stride - left)), (max(0, end * stride - left), width)

    def write(self) -> None:
        """Put every pixel."""
        s = self.s
        with s.every_map() as c, s.every_row() as i:
            rows = self.geometry.windows(0, (i, i + 1), self._down)
            first, end = (s.writer.let(bound) for bound in rows)
            for left, right in self._edges:
                with s.writer.serial(right - left, left) as j:
                    self._edge((first, end), c, i, j)
            for count in range(self._most_rows + 1):
                with s.writer.when(end - first == count):
                    self._row([first + n for n in range(count)], c, i)

    def _row(self, rows: list[Expr], c: Expr, i: Expr) -> None:
        begin, end = self._inner
        with self.s.writer.serial(end - begin, begin) as number:
            self._stride(rows, c, i, number)

    def _edge(self, rows: Range, c: Expr, i: Expr, j: Expr) -> None:
        """A pixel that windows may not reach."""
        w = self.s.writer
        across = self.s.node.inputs[1].type.shape[3]
        first, end = self.geometry.windows(1, (j, j + 1), across)
        total, x = self._zero(), self.s.register(self.s.operand(0, c, i, j))
        with _each(w, rows) as row, w.serial(difference(end, first), first) as column:
            self._add(total, x, c, row, column)
        self.s.put(lambda lane: total[lane], c, i, j)

    def _stride(self, rows: list[Expr], c: Expr, i: Expr, number: Expr) -> None:
        """Pixels that lie in the same windows, but for the last ones."""
        size, stride = self.geometry.window[1], self.geometry.stride[1]
        first = number * stride - self.geometry.before[1]
        pixels = [self.s.register(self.s.operand(0, c, i, first + n)) for n in range(stride)]
        totals = [self._zero() for _ in pixels]
        for row in rows:
            for n, (x, total) in enumerate(zip(pixels, totals, strict=True)):
                for back in range(n, size, stride):
                    self._add(total, x, c, row, number - back // stride)
        for n, total in enumerate(totals):
            self.s.put(lambda lane, total=total: total[lane], c, i, first + n)  # type: ignore[misc]

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


def _max_pool_dx(s: Stage) -> None:
    if s.node.attrs["ties"] == "first":
        _scatter(s, 1, _to_first)
    else:
        _Gather(s).write()


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
