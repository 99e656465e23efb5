"""Whether minimal filtering pays for a convolution in f32, and with tiles of which size.

Costs are estimates, as in `cuda/tile.py`: clocks of one processor. The choice follows from sizes
alone, so that the order of every sum does too.
"""

from math import prod

from codegen.kernels.cuda.conv_dw import ConvDw
from codegen.kernels.cuda.correlation import Correlation
from codegen.kernels.cuda.form import F32
from codegen.kernels.cuda.simt import best_tile
from codegen.kernels.cuda.tile import LANES, LAUNCHED, MEMORY, PROCESSORS
from codegen.kernels.cuda.winograd.maps import maps_of, weights_of
from codegen.kernels.cuda.winograd.turn import BLOCKED, FLOAT, Turn, turns_of
from codegen.kernels.cuda.writer import WARP
from codegen.kernels.linear import operations
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.winograd.tiles import axes_of, candidates, instructions
from codegen.targets import Cuda
from ir.graph import Node

Direct = Correlation | ConvDw
"""A kernel that sums all products of pixels and taps."""
GAIN = 0.85
"""Part of the direct kernel's cost that is little enough to change over."""


def phases(direct: Direct, target: Cuda) -> Phases | None:
    """The tiles for a convolution or a gradient of one; None for the direct kernel to do it."""
    node = direct.node
    if direct.form is not F32:
        return None
    found = [by for by in candidates(node, target.winograd) if turns_of(node, by)]
    best = min(found, key=lambda by: cost(node, by), default=None)
    return best if best and cost(node, best) <= GAIN * direct_cost(direct) else None


def direct_cost(direct: Direct) -> float:
    """Of the direct kernel, which may skip what lies outside the image."""
    whole = direct.cost
    if isinstance(direct, ConvDw) or direct.few:
        return whole
    return whole * prod(axis.met / (axis.results * axis.window) for axis in axes_of(direct.node))


def cost(node: Node, by: Phases) -> float:
    """Of minimal filtering, all launches."""
    return _weights(node, by) + sum(_turn(node, turn) for turn in turns_of(node, by))


def _weights(node: Node, by: Phases) -> float:
    """To transform them, or their gradients back."""
    weights, sides = weights_of(node).type, (by.down, by.across)
    vectors = BLOCKED.blocks(weights) * weights.shape[1] * by.count
    down, across = (operations(side.kinds[0].forward.taps_matrix) for side in sides)
    work = down * by.across.taps + across * by.down.products
    moved = by.down.taps * by.across.taps + by.products
    return _transformed(vectors * moved, vectors * work)


def _turn(node: Node, turn: Turn) -> float:
    """To transform pixels, to multiply, and to transform results back, or their gradients."""
    by, maps, is_gradient = turn.phases, maps_of(node, turn.phases), node.op == "conv_dw"
    size = turn.size_of_gradient(maps) if is_gradient else turn.size(maps)
    images = len(turn.images) * len(turn.rows) / by.down.tiles
    sources, results = images * maps.groups * maps.sources, images * maps.groups * maps.results
    there = instructions(by, lambda kind: kind.forward.input)
    back = instructions(
        by, lambda kind: kind.gradient.taps_matrix if is_gradient else kind.forward.output
    )
    pixels = by.down.results * by.across.results
    return (
        _transformed(sources * 2 * by.multiplied, sources * there)
        + best_tile(size).cost * by.multiplied / (by.products * by.tiles)
        + _transformed(results * (by.multiplied + pixels), results * back)
    )


def _transformed(vectors: float, work: float) -> float:
    """A launch that moves vectors of lanes, and takes so many instructions."""
    moved, done = vectors * WARP * FLOAT / MEMORY, work * WARP / LANES
    return LAUNCHED + (moved + done) / PROCESSORS
