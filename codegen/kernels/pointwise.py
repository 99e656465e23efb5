"""How one element follows from elements: a rule for every pointwise op, view, and the crop.

A rule gets a position and a node and returns the node's value there, lane by lane. Views and the
crop ask for their operand at another position.
"""

from math import prod

from tvm import tirx

from codegen.kernels import math, philox
from codegen.kernels.math import f32
from codegen.kernels.writer import HELD_DTYPE, Lane, Position, Rule, at_lane
from codegen.loops import Expr
from ir.graph import Node

Index = Expr | Lane


def _operands(p: Position, node: Node) -> list[Lane]:
    return [p.vector(x) for x in node.inputs]


def _scalars(p: Position, node: Node, first: int) -> list[Expr]:
    return [p.writer.element(x) for x in node.inputs[first:]]


def _add(p: Position, node: Node) -> Lane:
    a, b = _operands(p, node)
    return lambda i: a(i) + b(i)


def _sub(p: Position, node: Node) -> Lane:
    a, b = _operands(p, node)
    return lambda i: a(i) - b(i)


def _mul(p: Position, node: Node) -> Lane:
    a, b = _operands(p, node)
    return lambda i: a(i) * b(i)


def _scale(p: Position, node: Node) -> Lane:
    x, by = p.vector(node.inputs[0]), node.attrs["by"]
    assert isinstance(by, float)
    return lambda i: x(i) * f32(by)


def _scale_by(p: Position, node: Node) -> Lane:
    x, (s,) = p.vector(node.inputs[0]), _scalars(p, node, 1)
    return lambda i: x(i) * s


def _cast(p: Position, node: Node) -> Lane:
    x = p.vector(node.inputs[0])
    return lambda i: tirx.Cast(HELD_DTYPE[node.type.dtype], x(i))


def _relu(p: Position, node: Node) -> Lane:
    x = p.vector(node.inputs[0])
    # Not max: NaN must stay NaN.
    return lambda i: tirx.Select(x(i) < f32(0), f32(0), x(i))


def _relu_dx(p: Position, node: Node) -> Lane:
    y, dy = _operands(p, node)
    return lambda i: tirx.Select(y(i) > f32(0), dy(i), f32(0))


def _tanh(p: Position, node: Node) -> Lane:
    return math.tanh(p.writer, p.vector(node.inputs[0]))


def _tanh_dx(p: Position, node: Node) -> Lane:
    y, dy = _operands(p, node)
    return lambda i: dy(i) * (f32(1) - y(i) * y(i))


def _bias_add(p: Position, node: Node) -> Lane:
    x, b = p.vector(node.inputs[0]), node.inputs[1]
    return lambda i: x(i) + p.writer.element(b, *p.index(i)[1 : 1 + b.type.rank])


def _center(p: Position, node: Node) -> Lane:
    x, mean = p.vector(node.inputs[0]), node.inputs[1]
    return lambda i: x(i) - p.writer.element(mean, *p.index(i)[1:])


def _channel_shift(p: Position, node: Node) -> Lane:
    x, shift = p.vector(node.inputs[0]), p.elsewhere(p.at[:2]).vector(node.inputs[1])
    return lambda i: x(i) + shift(i)


def _dropout(p: Position, node: Node) -> Lane:
    x, drop = p.vector(node.inputs[0]), node.attrs["p"]
    assert isinstance(drop, float)
    least = philox.u64(round(drop * 2**32))
    words = philox.random_words(p, node)
    return lambda i: tirx.Select(words(i) >= least, x(i), f32(0))


def _sgd_velocity(p: Position, node: Node) -> Lane:
    v, w, g = (p.vector(x) for x in node.inputs[:3])
    rate, momentum, decay = _scalars(p, node, 3)
    by = node.attrs["decay_by"]
    assert isinstance(by, float)

    def moved(i: Expr) -> Expr:
        return momentum * v(i) - rate * (g(i) + decay * f32(by) * w(i))

    return lambda i: tirx.Select(rate == f32(0), v(i), moved(i))


def _sgd_weight(p: Position, node: Node) -> Lane:
    (w, v), (rate,) = (p.vector(x) for x in node.inputs[:2]), _scalars(p, node, 2)
    return lambda i: tirx.Select(rate == f32(0), w(i), w(i) + v(i))


def _accumulate(p: Position, node: Node) -> Lane:
    (total, g), (keep,) = (p.vector(x) for x in node.inputs[:2]), _scalars(p, node, 2)
    return lambda i: tirx.Select(keep == f32(0), g(i), total(i) + g(i))


# ---------------------------------------------------------------------------- other positions


def _view(p: Position, node: Node) -> Lane:
    """Flatten and unflatten: images keep their lanes, the other axes are numbered anew."""
    x = node.inputs[0]
    block, *rest = p.at
    inside = _renumbered(rest, node.type.shape[1:], x.type.shape[1:])
    return p.elsewhere((block, *inside)).vector(x)


def _renumbered(at: list[Index], old: tuple[int, ...], new: tuple[int, ...]) -> list[Index]:
    def flat(lane: Expr) -> Expr:
        return _flat([at_lane(along, lane) for along in at], old)

    if at and any(at_lane(along, 0) is not along for along in at):
        return [
            lambda lane, axis=axis: _digit(flat(lane), axis, new)  # type: ignore[misc]
            for axis in range(len(new))
        ]
    return [_digit(flat(0), axis, new) for axis in range(len(new))]


def _flat(index: list[Expr], shape: tuple[int, ...]) -> Expr:
    total: Expr = 0
    for along, extent in zip(index, shape, strict=True):
        total = total * extent + along
    return total


def _digit(flat: Expr, axis: int, shape: tuple[int, ...]) -> Expr:
    below = prod(shape[axis + 1 :])
    if isinstance(flat, int):
        return flat // below % shape[axis]
    index = tirx.truncdiv(flat, below) if below > 1 else flat
    return tirx.truncmod(index, shape[axis]) if axis else index


def _crop(p: Position, node: Node) -> Lane:
    """Every lane reads its own image's part; flipped images from right to left."""
    x, offset, flip = node.inputs
    size = node.attrs["size"]
    assert isinstance(size, tuple)
    w, (block, channel, row, column) = p.writer, p.at
    starts = [p.elsewhere((block, axis)).vector(offset) for axis in (0, 1)]
    flipped = p.elsewhere((block,)).vector(flip)
    room = [whole - part for whole, part in zip(x.type.shape[2:], size, strict=True)]

    def first(axis: int, lane: Expr) -> Expr:
        # Padding lanes hold anything and must stay inside.
        return tirx.min(tirx.max(starts[axis](lane), 0), room[axis])

    def across(lane: Expr) -> Expr:
        along = at_lane(column, lane)
        return tirx.Select(flipped(lane) != 0, size[1] - 1 - along, along)

    rows = w.held(lambda i: first(0, i) + at_lane(row, i), "int32")
    columns = w.held(lambda i: first(1, i) + across(i), "int32")
    return p.elsewhere((block, channel, rows, columns)).vector(x)


RULES: dict[str, Rule] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "scale": _scale,
    "scale_by": _scale_by,
    "cast": _cast,
    "relu": _relu,
    "relu_dx": _relu_dx,
    "tanh": _tanh,
    "tanh_dx": _tanh_dx,
    "bias_add": _bias_add,
    "center": _center,
    "channel_shift": _channel_shift,
    "dropout": _dropout,
    "sgd_velocity": _sgd_velocity,
    "sgd_weight": _sgd_weight,
    "accumulate": _accumulate,
    "flatten": _view,
    "unflatten": _view,
    "crop": _crop,
}
