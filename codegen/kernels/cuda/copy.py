"""concat, slice, unslice: an element is one of an operand's, or zero.

Along axis 0 lanes change places, so operands are read there by their elements.
"""

from tvm import tirx

from codegen.kernels.attributes import integer
from codegen.kernels.cuda.lanes import Register
from codegen.kernels.cuda.position import Position
from codegen.kernels.cuda.writer import WARP
from codegen.kernels.writer import HELD_DTYPE, Lane, Rule
from codegen.loops import Expr
from ir.graph import Node


def _along(p: Position, axis: int) -> Expr:
    """Where this thread's element is along an axis."""
    return p.at[axis] if axis else p.at[0] * WARP + p.writer.lane


def _moved(p: Position, node: Node, place: int, by: Expr) -> Lane:
    """An operand's element as far off along the axis."""
    axis, x = integer(node, "axis"), node.inputs[place]
    if axis:
        at = [index + by if i == axis else index for i, index in enumerate(p.at)]
        return p.elsewhere(at).vector(x)
    return lambda lane: p.writer.element(x, _along(p, 0) + by, *p.at[1:])


def _zero(p: Position, node: Node) -> Register:
    dtype = HELD_DTYPE[node.type.dtype]
    value = p.writer.register(dtype)
    value.set(tirx.const(0, dtype))
    return value


def _take(p: Position, node: Node, place: int, start: int, value: Register) -> None:
    """Set the value to an operand's, which begins at `start`, where there is one."""
    w, axis = p.writer, integer(node, "axis")
    here = _along(p, axis)
    end = start + node.inputs[place].type.shape[axis]
    with w.when(tirx.all(here >= start, here < end)):
        value.set(_moved(p, node, place, -start))


def _concat(p: Position, node: Node) -> Lane:
    value, start = _zero(p, node), 0
    for place, x in enumerate(node.inputs):
        _take(p, node, place, start, value)
        start += x.type.shape[integer(node, "axis")]
    return value


def _slice(p: Position, node: Node) -> Lane:
    start = integer(node, "start")
    if integer(node, "axis"):
        return _moved(p, node, 0, start)
    value = _zero(p, node)
    # Padding has nowhere to read from.
    with p.writer.when(_along(p, 0) < node.type.shape[0]):
        value.set(_moved(p, node, 0, start))
    return value


def _unslice(p: Position, node: Node) -> Lane:
    value = _zero(p, node)
    _take(p, node, 0, integer(node, "start"), value)
    return value


RULES: dict[str, Rule] = {"concat": _concat, "slice": _slice, "unslice": _unslice}
