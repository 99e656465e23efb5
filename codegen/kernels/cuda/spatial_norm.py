"""Response normalisation across a square of positions of one map; every square is summed anew.

Backward, a launch of its own leaves the terms of the sums in the workspace.
"""

from codegen.kernels.cuda.position import Position
from codegen.kernels.cuda.window import summed
from codegen.kernels.cuda.writer import Maker, Writer
from codegen.kernels.formula import Formula, square
from codegen.kernels.geometry import Taps
from codegen.kernels.math import f32
from codegen.kernels.memory import Home
from codegen.kernels.ranges import clipped
from codegen.kernels.writer import Lane, Rule
from ir.graph import Node


def _around(p: Position, node: Node, before: int, after: int) -> Taps:
    """The positions of a square, clipped to the image."""
    down, across = (
        clipped(at - before, at + after + 1, extent)
        for at, extent in zip(p.at[2:], node.type.shape[2:], strict=True)
    )
    return down, across


def _denominator(p: Position, node: Node, formula: Formula) -> Lane:
    taps = _around(p, node, formula.before, formula.after)
    squares = summed(p, taps, lambda i, j: square(p.operand(node, 0, p.at[1], i, j)))
    return formula.denominator(p.writer, squares)


def _spatial_lrn(p: Position, node: Node) -> Lane:
    formula, x = Formula(node), p.vector(node.inputs[0])
    scale = formula.scale(p.writer, _denominator(p, node, formula))
    return lambda i: x(i) * scale(i)


def _spatial_lrn_dx(w: Writer, node: Node) -> Rule:
    """dy x d^(-beta-1) everywhere, then their sums."""
    formula, shape = Formula(node), w.layout.shape(node.type)
    terms = w.workspace(*shape)
    with w.positions(node.type) as at:
        p = Position(w, {}, at)
        x, dy = (p.vector(operand) for operand in node.inputs)
        _, over_d = formula.scaled(w, _denominator(p, node, formula), dy)
        w.put(terms, over_d(w.lane) * x(w.lane), *at, w.lane)

    def rule(p: Position, node: Node) -> Lane:
        x, dy = (p.vector(operand) for operand in node.inputs)
        part, _ = formula.scaled(p.writer, _denominator(p, node, formula), dy)
        taps = _around(p, node, formula.after, formula.before)
        total = summed(p, taps, lambda i, j: w.row(Home(w, terms), (*p.at[:2], i, j)))
        return lambda i: part(i) + f32(formula.factor) * x(i) * total(i)

    return rule


RULES: dict[str, Rule] = {"spatial_lrn": _spatial_lrn}
MAKERS: dict[str, Maker] = {"spatial_lrn_dx": _spatial_lrn_dx}
