"""Response normalisation across a square of positions of one map; every square is summed anew."""

from collections.abc import Callable

from codegen.kernels.attributes import integer
from codegen.kernels.cpu.stage import Maker, Stage
from codegen.kernels.cpu.writer import LANES
from codegen.kernels.formula import Formula, square
from codegen.kernels.math import f32
from codegen.kernels.memory import Scratch
from codegen.kernels.ranges import Range, clipped, difference
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from ir.graph import Node

_At = Callable[[Expr, Expr, Expr], Lane]
"""A value by map, row and column."""


def _around(s: Stage, at: tuple[Expr, Expr, Expr], before: int, after: int, term: _At) -> Lane:
    """The sum of a term over a square of positions, clipped."""
    w, (c, i, j) = s.writer, at
    height, width = s.node.type.shape[2:]
    total = w.local(LANES)
    with w.lanes() as lane:
        w.store(total, f32(0), lane)
    top, bottom = clipped(i - before, i + after + 1, height)
    left, right = clipped(j - before, j + after + 1, width)
    with (
        w.serial(difference(bottom, top), top) as row,
        w.serial(difference(right, left), left) as column,
        w.lanes() as lane,
    ):
        w.store(total, total[lane] + term(c, row, column)(lane), lane)
    return lambda lane: total[lane]


def _spatial_d(s: Stage, formula: Formula, *at: Expr) -> Lane:
    c, i, j = at
    squares = _around(
        s, (c, i, j), formula.before, formula.after, lambda *to: square(s.operand(0, *to))
    )
    return formula.denominator(s.writer, squares)


def _spatial_lrn(s: Stage) -> None:
    formula = Formula(s.node)
    width = s.node.type.shape[3]
    with s.every_map() as c, s.every_row() as i, s.every(width) as (j,):
        x = s.operand(0, c, i, j)
        scale = formula.scale(s.writer, _spatial_d(s, formula, c, i, j))
        s.put(s.register(lambda lane: x(lane) * scale(lane)), c, i, j)


def _spatial_lrn_dx(s: Stage) -> None:
    """Of each map, dy x d^(-beta-1) in scratch, in all rows that the rows asked for look at."""
    formula, w = Formula(s.node), s.writer
    _, height, width = s.node.type.shape[1:]
    first, end = clipped(s.rows[0] - formula.after, s.rows[1] + formula.before, height)
    terms = w.scratch(min(height, s.most_rows + formula.size), width, LANES)
    factor = f32(formula.factor)
    with s.every_map() as c:
        with w.serial(difference(end, first), first) as i, s.every(width) as (j,):
            x, dy = (s.operand(place, c, i, j) for place in (0, 1))
            _, over_d = formula.scaled(w, _spatial_d(s, formula, c, i, j), dy)
            with w.lanes() as lane:
                w.put(terms, over_d(lane) * x(lane), difference(i, first), j, lane)
        with s.every_row() as i, s.every(width) as (j,):
            _put_spatial(s, formula, terms, (c, i, j), (first, factor))


def _put_spatial(
    s: Stage,
    formula: Formula,
    terms: Scratch,
    at: tuple[Expr, Expr, Expr],
    rest: tuple[Expr, Expr],
) -> None:
    first, factor = rest
    x, dy = (s.operand(place, *at) for place in (0, 1))
    d = _spatial_d(s, formula, *at)
    scale = formula.scale(s.writer, d)

    def term(_: Expr, row: Expr, column: Expr) -> Lane:
        return lambda lane: terms[difference(row, first), column, lane]

    total = _around(s, at, formula.after, formula.before, term)
    s.put(s.register(lambda i: dy(i) * scale(i) + factor * x(i) * total(i)), *at)


def rows_of(node: Node, place: int, rows: Range) -> Range:
    """The rows of an operand that some rows of the result need."""
    size = integer(node, "size")
    return clipped(rows[0] - size, rows[1] + size, node.type.shape[2])


MAKERS: dict[str, Maker] = {"spatial_lrn": _spatial_lrn, "spatial_lrn_dx": _spatial_lrn_dx}
