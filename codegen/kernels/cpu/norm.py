"""Response normalisation across maps (`ir/ops/norm.py` has the formulas).

Squares are computed once: a strip of columns of all maps of a group lies in scratch,
between zeros, so that a window is a plain sum.
"""

from tvm import tirx

from codegen.kernels.attributes import integer
from codegen.kernels.cpu.stage import Maker, Stage
from codegen.kernels.cpu.writer import LANES
from codegen.kernels.formula import Formula, square
from codegen.kernels.math import f32
from codegen.kernels.ranges import Range
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from ir.graph import Node

_STRIP = 16384  # floats of scratch that a strip should fit into: a part of a small L2


class _Strip:
    """Values of all maps of a group at some columns of one row, zeros above and below."""

    def __init__(self, s: Stage, maps: int, width: int, above: int, below: int) -> None:
        self._s, self._maps, self._width = s, maps, width
        self._above, self._below = above, below
        self._array = s.writer.scratch(maps + above + below, width, LANES)

    def clear_edges(self) -> None:
        """Write the zeros."""
        w = self._s.writer
        for begin, count in ((0, self._above), (self._above + self._maps, self._below)):
            with w.serial(count, begin) as c, w.serial(self._width) as j, w.lanes() as lane:
                w.put(self._array, f32(0), c, j, lane)

    def put(self, value: Lane, c: Expr, j: Expr) -> None:
        """Set the value of a map."""
        w = self._s.writer
        with w.lanes() as lane:
            w.put(self._array, value(lane), c + self._above, j, lane)

    def window(self, c: Expr, j: Expr) -> Lane:
        """The sum over [c - above, c + below]."""

        def total(lane: Expr) -> Expr:
            terms = [self._array[c + t, j, lane] for t in range(self._above + self._below + 1)]
            return sum(terms[1:], terms[0])

        return total


def _strips(s: Stage, arrays: int) -> tuple[int, int, int]:
    """Groups, maps of one, and how many columns make a strip."""
    groups = integer(s.node, "groups")
    maps, width = s.node.type.shape[1] // groups, s.node.type.shape[3]
    size = integer(s.node, "size")
    fitting = max(1, _STRIP // (arrays * LANES * (maps + size)))
    count = -(-width // fitting)
    return groups, maps, -(-width // count)


def _lrn(s: Stage) -> None:
    formula = Formula(s.node)
    groups, maps, columns = _strips(s, 1)
    width = s.node.type.shape[3]
    squares = _Strip(s, maps, columns, formula.before, formula.after)
    squares.clear_edges()
    with s.every_row() as i, s.every(groups, -(-width // columns)) as (g, strip):
        here = tirx.min(columns, width - strip * columns)
        with s.every(maps, here) as (c, j):
            squares.put(square(s.operand(0, g * maps + c, i, strip * columns + j)), c, j)
        with s.every(maps, here) as (c, j):
            at = g * maps + c, i, strip * columns + j
            x = s.operand(0, *at)
            d = formula.denominator(s.writer, squares.window(c, j))
            root = formula.root(s.writer, d)
            s.put(s.register(lambda lane: x(lane) / root(lane)), *at)


def _lrn_dx(s: Stage) -> None:
    formula = Formula(s.node)
    groups, maps, columns = _strips(s, 3)
    width = s.node.type.shape[3]
    squares = _Strip(s, maps, columns, formula.before, formula.after)
    terms = _Strip(s, maps, columns, formula.after, formula.before)
    direct = _Strip(s, maps, columns, 0, 0)
    squares.clear_edges()
    terms.clear_edges()
    factor = f32(formula.factor)
    with s.every_row() as i, s.every(groups, -(-width // columns)) as (g, strip):
        here = tirx.min(columns, width - strip * columns)
        with s.every(maps, here) as (c, j):
            squares.put(square(s.operand(0, g * maps + c, i, strip * columns + j)), c, j)
        with s.every(maps, here) as (c, j):
            at = g * maps + c, i, strip * columns + j
            x = s.operand(0, *at)
            d = formula.denominator(s.writer, squares.window(c, j))
            part, over_d = formula.divided(s.writer, d, s.operand(1, *at))
            direct.put(part, c, j)
            terms.put(lambda lane: over_d(lane) * x(lane), c, j)
        with s.every(maps, here) as (c, j):
            at = g * maps + c, i, strip * columns + j
            x, part, total = s.operand(0, *at), direct.window(c, j), terms.window(c, j)
            s.put(s.register(lambda i: part(i) + factor * x(i) * total(i)), *at)


def rows_of(node: Node, place: int, rows: Range) -> Range:
    """The rows of an operand that some rows of the result need."""
    return rows


MAKERS: dict[str, Maker] = {"lrn": _lrn, "lrn_dx": _lrn_dx}
