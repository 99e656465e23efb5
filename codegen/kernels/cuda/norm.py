"""Response normalisation across maps (`ir/ops/norm.py` has the formulas).

A thread computes some maps of one pixel, which look at overlapping windows: every square and
every term of a sum is computed once for all of them.
"""

from collections.abc import Callable, Iterable
from math import gcd

from tvm import tirx

from codegen.kernels.attributes import integer
from codegen.kernels.cuda.position import Position
from codegen.kernels.formula import Formula
from codegen.kernels.math import f32
from codegen.kernels.writer import Lane, Rule
from codegen.loops import Expr
from ir.graph import Node


class _Maps:
    """What a node's windows hold at maps by their number from the column's first.

    A column lies within one group, and its count divides that of the group's maps.
    """

    def __init__(self, p: Position, node: Node) -> None:
        self.p, self.node, self.formula = p, node, Formula(node)
        self._maps = node.type.shape[1] // integer(node, "groups")
        self._first = tirx.truncmod(p.column.at[1], self._maps)

    def square(self, number: int) -> Lane:
        """x^2; 0 beyond the group."""

        def made() -> Lane:
            x = self.operand(0, number)
            return lambda i: x(i) * x(i)

        return self._once("square", number, made)

    def denominator(self, number: int) -> Lane:
        """d of a map inside the group."""
        formula = self.formula
        window = range(number - formula.before, number + formula.after + 1)
        squares = [self.square(each) for each in window]
        return formula.denominator(self.p.writer, lambda i: _sum(squares, i))

    def divided(self, number: int) -> tuple[Lane, Lane]:
        """dy d^-beta and dy d^(-beta-1) of a map inside the group."""

        def made() -> tuple[Lane, Lane]:
            d = self.denominator(number)
            return self.formula.scaled(self.p.writer, d, self.operand(1, number))

        if 0 <= number < self.p.column.count:
            return self.p.column.once((self.node, "divided", number), made)
        return made()

    def term(self, number: int) -> Lane:
        """dy x d^(-beta-1); 0 beyond the group."""

        def made() -> Lane:
            x, (_, over_d) = self.operand(0, number), self.divided(number)
            return lambda i: over_d(i) * x(i)

        return self._once("term", number, made)

    def operand(self, place: int, number: int) -> Lane:
        """An operand at a map."""
        column = self.p.column
        if 0 <= number < column.count:
            return column.positions[number].vector(self.node.inputs[place])
        block, first, *rest = column.at
        return self.p.elsewhere((block, first + number, *rest)).vector(self.node.inputs[place])

    def _once(self, name: str, number: int, make: Callable[[], Lane]) -> Lane:
        def value() -> Lane:
            w = self.p.writer
            if 0 <= number < self.p.column.count:
                return w.held(make())
            total = w.register()
            total.set(f32(0))
            if abs(number) < self._maps:
                with w.when(self._inside(number)):
                    total.set(make())
            return total

        return self.p.column.once((self.node, name, number), value)

    def _inside(self, number: int) -> Expr:
        within = self._first + number
        return within >= 0 if number < 0 else within < self._maps


def _sum(terms: list[Lane], lane: Expr) -> Expr:
    first, *rest = (term(lane) for term in terms)
    return sum(rest, first)


def _lrn(p: Position, node: Node) -> Lane:
    maps = _Maps(p, node)
    x = maps.operand(0, p.number)
    scale = maps.formula.scale(p.writer, maps.denominator(p.number))
    return lambda i: x(i) * scale(i)


def _lrn_dx(p: Position, node: Node) -> Lane:
    maps, formula = _Maps(p, node), Formula(node)
    reach = formula.before + formula.after
    for number in range(p.number - reach, p.number + reach + 1):
        # Here and not within a term's condition: other terms need them too.
        maps.square(number)
    window = range(p.number - formula.after, p.number + formula.before + 1)
    terms = [maps.term(number) for number in window]
    x, (part, _) = maps.operand(0, p.number), maps.divided(p.number)
    return lambda i: part(i) + f32(formula.factor) * x(i) * _sum(terms, i)


_MOST = 8  # maps that a thread computes
_FEW = 4  # lanes of which it looks at many maps
_VALUES = {"lrn": 64, "lrn_dx": 48}
"""That it looks at, as many as leave room for others in its registers."""


def together(nodes: Iterable[Node], lanes: int) -> list[int]:
    """How many maps of so many lanes a thread may compute, given all that it computes."""
    norms = [node for node in nodes if node.op in RULES]
    maps = gcd(*(node.type.shape[1] // integer(node, "groups") for node in norms))
    most = max(1, min(_MOST, _room(norms) // lanes - reach(norms)))
    return [count for count in range(1, most + 1) if maps % count == 0]


def lanes(nodes: Iterable[Node], most: int) -> int:
    """How many lanes a thread has, of so many at most: all if it then has room for as many maps of
    its own as it looks at beside them, which are computed again by others; else few or one, so that
    what it looks at for one map fits."""
    norms = [node for node in nodes if node.op in RULES]
    if not norms or 2 * reach(norms) * most <= _room(norms):
        return most
    return _FEW if (1 + reach(norms)) * _FEW <= _room(norms) else 1


def _room(norms: Iterable[Node]) -> int:
    return min(_VALUES[node.op] for node in norms)


def reach(nodes: Iterable[Node]) -> int:
    """How many maps more it looks at."""
    return max(integer(node, "size") - 1 for node in nodes if node.op in RULES)


def around(nodes: Iterable[Node]) -> tuple[int, int]:
    """Of how many maps before and after its own it looks at the cotangent, backward."""
    formulas = [Formula(node) for node in nodes if node.op in RULES]
    # The windows that hold a map lie the other way round.
    return max(f.after for f in formulas), max(f.before for f in formulas)


RULES: dict[str, Rule] = {"lrn": _lrn, "lrn_dx": _lrn_dx}
