"""The tiles of minimal filtering that a convolution can have, by how much they magnify rounding."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from math import prod
from operator import attrgetter

from codegen.kernels.axis import Adjoint, Axis, Forward, axes
from codegen.kernels.linear import operations
from codegen.kernels.minimal import POINTS, Matrix
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.winograd.side import Kind, side
from ir.graph import Node

GROWTH = {"none": 0, "mild": 10, "fast": 32}
"""How much a tile may magnify rounding at most (`Minimal.growth` down times across), by the
target's `winograd`."""
LENIENT = 2
"""Times that for weight gradients, which are sums of so much that they are rounded anyway."""


def candidates(node: Node, winograd: str) -> list[Phases]:
    """All tiles of a convolution, or a gradient of one, that are accurate enough. There are none
    for data gradients with strides."""
    if node.op == "conv_dx" and node.attrs["stride"] != (1, 1):
        return []
    pairs = product(*(list(map(partial(side, axis), _sizes(axis))) for axis in axes_of(node)))
    found = (Phases(*pair) for pair in pairs)
    return [each for each in found if growth(node, each) <= allowed(node, winograd)]


def growth(node: Node, by: Phases) -> float:
    """How much tiles magnify rounding; of both sizes, the most."""
    which = attrgetter("gradient" if node.op == "conv_dw" else "forward")
    sides = (by.down, by.across)
    return prod((max(which(kind).growth for kind in along.kinds) for along in sides), start=1.0)


def allowed(node: Node, winograd: str) -> float:
    """How much they may."""
    return GROWTH[winograd] * (LENIENT if node.op == "conv_dw" else 1)


def instructions(by: Phases, matrix: Callable[[Kind], Matrix]) -> int:
    """Of a transform of all tiles of a map, along columns, then along rows."""
    total = 0
    for one, other in product(by.down.kinds, by.across.kinds):
        down, across = matrix(one), matrix(other)
        steps = operations(down) * len(across[0]) + operations(across) * len(down)
        total += one.count * other.count * steps
    return total


def axes_of(node: Node) -> tuple[Axis, Axis]:
    """Of the correlation, down and across; a weight gradient's is that of the convolution."""
    one, other = (x.type.shape[2:] for x in node.inputs)
    if node.op == "conv_dw":
        return axes(Forward, node, other, one, node.type.shape[2:])
    if node.op == "conv_dx":
        return axes(Adjoint, node, node.type.shape[2:], other, one)
    return axes(Forward, node, node.type.shape[2:], one, other)


def _sizes(axis: Axis) -> Iterator[int]:
    """Of tiles: one result where a phase has one tap, as there is nothing to win; else more, and
    of all sizes that give so many tiles the least."""
    taps = -(-axis.window // axis.stride)
    most = max(POINTS) - taps + 1
    sizes = [1] if taps == 1 else range(2, min(most, axis.results) + 1)
    yield from (size for size in sizes if side(axis, size).size == size)
