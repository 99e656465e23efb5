"""Response normalisation across maps (`ir/ops/norm.py` has the formulas).

Map after map of a strip of columns is taken in. Squares of the last few are kept, as many as a
window has. Backward, so are the terms of the sums of dx, which is made some maps behind.
"""

from codegen.kernels.cpu.stage import Maker, Stage
from codegen.kernels.cpu.strip import Kept, Strip
from codegen.kernels.math import f32
from codegen.kernels.ranges import Range
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from ir.graph import Node


class _Squares(Kept):
    """Of x, for denominators of maps as many behind as windows reach ahead."""

    def begin(self, first: int) -> None:
        """Take in what windows need before the first step: zeros, then maps but for the last."""
        before, ahead = self.strip.formula.before, self.strip.formula.after
        self.clear(first - ahead - before, before)
        for c in range(ahead):
            with self.strip.every_column() as j:
                self._take(c, first - ahead + c, j)

    def denominator(self, c: Expr, step: int, j: Expr) -> Lane:
        """d of map c, after the last map of its window was taken in."""
        formula = self.strip.formula
        self._take(c + formula.after, step, j)
        return formula.denominator(self.w, self.total(step, j))

    def _take(self, c: Expr, step: int, j: Expr) -> None:
        x = self.strip.operand(0, c, j)
        self.strip.prefetch(0, c, j)
        self.put(step, j, self.strip.within(c, lambda lane: x(lane) * x(lane)))


def _lrn(s: Stage) -> None:
    strip = Strip(s, 1)
    squares = _Squares(strip)
    with strip.each():
        squares.begin(0)
        for c, step in strip.every_map():
            with strip.every_column() as j:
                d, x = squares.denominator(c, step, j), strip.operand(0, c, j)
                s.prefetch_results(*strip.at(c + 1, j))
                scale = strip.formula.scale(s.writer, d)
                s.put(s.register(lambda i, x=x, scale=scale: x(i) * scale(i)), *strip.at(c, j))  # type: ignore[misc]


def _lrn_dx(s: Stage) -> None:
    """dx is made as many maps behind its terms as its windows, which are mirrored, reach ahead."""
    strip = Strip(s, 3)
    late, windows = strip.formula.before, _Windows(strip)
    with strip.each():
        windows.begin()
        for c in range(late):
            with strip.every_column() as j:
                windows.take(c, c - late, j)
        for c, step in strip.every_map():
            with strip.every_column() as j:
                windows.take(c + late, step, j)
                s.prefetch_results(*strip.at(c + 1, j))
                s.put(windows.dx(c, step, j), *strip.at(c, j))


class _Windows:
    """Of lrn_dx: squares, the terms dy x d^(-beta-1) of sums, and dy d^-beta."""

    def __init__(self, strip: Strip) -> None:
        self._strip, self._late = strip, strip.formula.before
        self._squares, self._terms, self._direct = _Squares(strip), Kept(strip), Kept(strip)

    def begin(self) -> None:
        """What lies before the first map."""
        after = self._strip.formula.after
        self._squares.begin(-self._late)
        self._terms.clear(-self._late - after, after)

    def take(self, c: Expr, step: int, j: Expr) -> None:
        """Take in a map's terms."""
        strip = self._strip
        d = self._squares.denominator(c, step, j)
        strip.prefetch(1, c, j)
        x, dy = (strip.operand(place, c, j) for place in (0, 1))
        direct, over_d = strip.formula.scaled(strip.s.writer, d, dy)
        self._direct.put(step, j, direct)
        self._terms.put(step, j, strip.within(c, lambda lane: over_d(lane) * x(lane)))

    def dx(self, c: Expr, step: int, j: Expr) -> Lane:
        """Of a map, when the last one of its window has been taken in."""
        factor, x = f32(self._strip.formula.factor), self._strip.operand(0, c, j)
        direct = self._direct.at(step - self._late, j)
        total = self._terms.total(step, j)
        return self._strip.s.register(lambda i: direct(i) + factor * x(i) * total(i))


def rows_of(node: Node, place: int, rows: Range) -> Range:
    """The rows of an operand that some rows of the result need."""
    return rows


MAKERS: dict[str, Maker] = {"lrn": _lrn, "lrn_dx": _lrn_dx}
