"""Pooling over windows clipped to the image; backward asks the windows that hold a pixel."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tvm import tirx

from codegen.kernels.cuda.position import Position
from codegen.kernels.geometry import Geometry, Taps
from codegen.kernels.math import f32, is_nan
from codegen.kernels.ranges import difference
from codegen.kernels.writer import Lane, Rule
from codegen.loops import Expr
from ir.graph import Node

_LOWEST = float("-inf")


@contextmanager
def each(p: Position, places: Taps) -> Iterator[tuple[Expr, Expr]]:
    """Loop over rows and columns."""
    (top, bottom), (left, right) = places
    with (
        p.writer.serial(difference(bottom, top), top) as row,
        p.writer.serial(difference(right, left), left) as column,
    ):
        yield row, column


def summed(p: Position, places: Taps, term: Callable[[Expr, Expr], Lane]) -> Lane:
    """The sum of a term over rows and columns."""
    total = p.writer.register()
    total.set(f32(0))
    with each(p, places) as (row, column):
        of_pixel = term(row, column)
        total.set(lambda lane: total(lane) + of_pixel(lane))
    return total


def _count(taps: Taps) -> Expr:
    (top, bottom), (left, right) = taps
    return tirx.Cast("float32", (bottom - top) * (right - left))


@dataclass(frozen=True)
class Maximum:
    """Of a window: NaN if there is one; and, if ties go to the first pixel, the number of that."""

    value: Lane
    place: Lane | None


def maximum(p: Position, node: Node, taps: Taps) -> Maximum:
    """Of operand 0 over some pixels of p's map."""
    w = p.writer
    if node.attrs["ties"] == "first":
        return _first_maximum(p, node, taps)
    value = w.register()
    value.set(f32(_LOWEST))
    with each(p, taps) as (row, column):
        x = p.operand(node, 0, p.at[1], row, column)
        value.set(lambda i: tirx.call_pure_extern("float32", "larger", value(i), x(i)))
    return Maximum(value, None)


def _first_maximum(p: Position, node: Node, taps: Taps) -> Maximum:
    w, width = p.writer, node.inputs[0].type.shape[3]
    value, place = w.register(), w.register("int32")
    value.set(f32(_LOWEST))
    place.set(taps[0][0] * width + taps[1][0])
    with each(p, taps) as (row, column):
        x = p.operand(node, 0, p.at[1], row, column)
        larger = w.held(lambda i: tirx.any(x(i) > value(i), is_nan(x(i))), "bool")
        here = row * width + column
        place.set(lambda i: tirx.Select(larger(i), here, place(i)))
        value.set(lambda i: tirx.Select(larger(i), x(i), value(i)))
    return Maximum(value, place)


def _max_pool(p: Position, node: Node) -> Lane:
    geometry = Geometry(node, node.inputs[0].type.shape[2:])
    return maximum(p, node, geometry.taps(*p.at[2:])).value


def _avg_pool(p: Position, node: Node) -> Lane:
    taps = Geometry(node, node.inputs[0].type.shape[2:]).taps(*p.at[2:])
    total = summed(p, taps, lambda row, column: p.operand(node, 0, p.at[1], row, column))
    return lambda lane: total(lane) / _count(taps)


# ---------------------------------------------------------------------------- backward


def _windows(p: Position, node: Node, geometry: Geometry) -> Taps:
    """The windows that hold this position's pixel."""
    (row, column), counts = p.at[2:], node.inputs[-1].type.shape[2:]
    down, across = (
        geometry.windows(axis, (pixel, pixel + 1), counts[axis])
        for axis, pixel in enumerate((row, column))
    )
    return down, across


def to_maxima(p: Position, node: Node, most: Callable[[Expr, Expr], Maximum]) -> Lane:
    """What a pixel gets of dy: that of all windows that it is the maximum of."""
    geometry = Geometry(node, node.type.shape[2:])
    x = p.vector(node.inputs[0])
    here = p.at[2] * node.type.shape[3] + p.at[3]

    def given(i: Expr, j: Expr) -> Lane:
        found, dy = most(i, j), p.operand(node, 1, p.at[1], i, j)

        def hit(lane: Expr) -> Expr:
            equal = x(lane) == found.value(lane)
            return tirx.all(equal, found.place(lane) == here) if found.place else equal

        return lambda lane: tirx.Select(hit(lane), dy(lane), f32(0))

    return summed(p, _windows(p, node, geometry), given)


def _max_pool_dx(p: Position, node: Node) -> Lane:
    geometry = Geometry(node, node.type.shape[2:])
    return to_maxima(p, node, lambda i, j: maximum(p, node, geometry.taps(i, j)))


def _avg_pool_dx(p: Position, node: Node) -> Lane:
    geometry = Geometry(node, node.type.shape[2:])

    def share(i: Expr, j: Expr) -> Lane:
        dy = p.operand(node, 0, p.at[1], i, j)
        return lambda lane: dy(lane) / _count(geometry.taps(i, j))

    return summed(p, _windows(p, node, geometry), share)


RULES: dict[str, Rule] = {
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "max_pool_dx": _max_pool_dx,
    "avg_pool_dx": _avg_pool_dx,
}
