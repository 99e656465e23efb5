"""concat, slice, unslice: runs along any axis but the first; along axis 0, lanes change places."""

from collections.abc import Callable

from tvm import tirx

from codegen.kernels.attributes import integer
from codegen.kernels.cpu.stage import Maker, Stage
from codegen.kernels.cpu.writer import LANES
from codegen.kernels.writer import TIR_DTYPE
from codegen.loops import Expr
from ir.graph import Node


def _run(s: Stage, place: int, start: int, shift: int, size: int) -> None:
    """Put what an operand has in [start, start + size) of the axis, `shift` further on."""
    axis = integer(s.node, "axis") - 1
    extents = list(s.node.type.shape[1:])
    extents[axis] = size
    with s.every(*extents) as at:
        here, there = list(at), list(at)
        here[axis] = here[axis] + start
        there[axis] = there[axis] + (start + shift)
        s.put(s.operand(place, *here), *there)


def _zeros(s: Stage, start: int, size: int) -> None:
    axis = integer(s.node, "axis") - 1
    extents = list(s.node.type.shape[1:])
    extents[axis] = size
    with s.every(*extents) as at:
        there = list(at)
        there[axis] = there[axis] + start
        s.put(lambda lane: _zero(s.node), *there)


def _zero(node: Node) -> Expr:
    return tirx.const(0, TIR_DTYPE[node.type.dtype])


def _along_lanes(s: Stage, value: Callable[[Expr, list[Expr]], Expr]) -> None:
    """value(index along axis 0, the other indices) everywhere in a block."""
    with s.every(*s.node.type.shape[1:]) as at:
        s.put(lambda lane: value(s.block * LANES + lane, at), *at)


def _element(s: Stage, place: int, index: Expr, at: list[Expr]) -> Expr:
    """An element of an operand; an index outside reads one inside."""
    x = s.node.inputs[place]
    inside = tirx.min(tirx.max(index, 0), x.type.shape[0] - 1)
    return s.writer.element(x, inside, *at)


def _concat(s: Stage) -> None:
    axis = integer(s.node, "axis")
    extents = [x.type.shape[axis] for x in s.node.inputs]
    starts = [sum(extents[:place]) for place in range(len(extents))]
    if axis:
        for place, (start, extent) in enumerate(zip(starts, extents, strict=True)):
            _run(s, place, 0, start, extent)
        return

    def value(index: Expr, at: list[Expr]) -> Expr:
        found = _element(s, 0, index, at)
        for place, start in enumerate(starts[1:], start=1):
            found = tirx.Select(index >= start, _element(s, place, index - start, at), found)
        return found

    _along_lanes(s, value)


def _slice(s: Stage) -> None:
    start = integer(s.node, "start")
    if axis := integer(s.node, "axis"):
        _run(s, 0, start, -start, s.node.type.shape[axis])
    else:
        _along_lanes(s, lambda index, at: _element(s, 0, index + start, at))


def _unslice(s: Stage) -> None:
    axis, start = integer(s.node, "axis"), integer(s.node, "start")
    size, given = s.node.type.shape[axis], s.node.inputs[0].type.shape[axis]
    if axis:
        _zeros(s, 0, start)
        _run(s, 0, 0, start, given)
        _zeros(s, start + given, size - start - given)
        return

    def value(index: Expr, at: list[Expr]) -> Expr:
        inside = tirx.all(index >= start, index < start + given)
        return tirx.Select(inside, _element(s, 0, index - start, at), _zero(s.node))

    _along_lanes(s, value)


MAKERS: dict[str, Maker] = {"concat": _concat, "slice": _slice, "unslice": _unslice}
