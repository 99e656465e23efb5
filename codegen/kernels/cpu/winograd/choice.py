"""Whether minimal filtering pays for a convolution, and with tiles of which size."""

from collections.abc import Iterator
from itertools import product

from codegen.kernels.axis import Adjoint, Axis, Forward, axes, groups_of
from codegen.kernels.cpu.linear import operations
from codegen.kernels.cpu.winograd.correlation import rows_of_tile
from codegen.kernels.cpu.winograd.phases import Phases
from codegen.kernels.cpu.winograd.side import side
from codegen.kernels.cpu.writer import LANES, blocks
from codegen.kernels.minimal import Matrix
from codegen.targets import Cpu
from ir.graph import Node

PRODUCTS = {"none": 0, "mild": 6, "fast": 7}
"""Products along a side at most, by the target's `winograd`: rounding errors grow with them."""
DEAR = 2.5
"""What an instruction of a transform costs, beside one of a product: it loads and stores more."""
GAIN = 0.85
"""Part of the direct kernel's work that is little enough to change over."""


def phases(node: Node, target: Cpu) -> Phases | None:
    """The tiles for a convolution, its data gradient or its weight gradient; None to do it
    directly."""
    found = candidates(node, target.winograd) if _fills_registers(node, target) else []
    if target.tuning.tile is not None:
        return next((each for each in found if each.sizes == target.tuning.tile), None)
    best = min(found, key=lambda each: work(node, each), default=None)
    if best is None or work(node, best) > GAIN * direct_work(node):
        return None
    return best


def candidates(node: Node, winograd: str) -> list[Phases]:
    """All tiles that are accurate enough; none where there is no kernel."""
    (down, across), most = _axes(node), PRODUCTS[winograd]
    if not _suits(node):
        return []
    return [
        Phases(side(down, one), side(across, other))
        for one, other in product(_sizes(down, most), _sizes(across, most))
    ]


def _sizes(axis: Axis, most: int) -> Iterator[int]:
    """Of tiles: one result where a phase has one tap, as there is nothing to win; else more."""
    taps = -(-axis.window // axis.stride)
    yield from [1] if taps == 1 else range(2, min(most - taps + 1, axis.results) + 1)


def _axes(node: Node) -> tuple[Axis, Axis]:
    """Of the correlation; a weight gradient's is that of the convolution."""
    one, other = (x.type.shape[2:] for x in node.inputs)
    if node.op == "conv_dw":
        return axes(Forward, node, other, one, node.type.shape[2:])
    if node.op == "conv_dx":
        return axes(Adjoint, node, node.type.shape[2:], other, one)
    return axes(Forward, node, node.type.shape[2:], one, other)


def _suits(node: Node) -> bool:
    """Whether there is a kernel: no strides in data gradients, groups of whole blocks of maps."""
    groups, weights = groups_of(node), _weights(node)
    whole = groups == 1 or weights[0] // groups % LANES == 0
    if node.op == "conv_dx" and node.attrs["stride"] != (1, 1):
        return False
    return whole or node.op == "conv"


def _fills_registers(node: Node, target: Cpu) -> bool:
    """Whether the maps of a result can be cut into tiles that use half of the registers."""
    columns = target.tuning.strip
    rows = rows_of_tile(target, node.type.shape[1] // groups_of(node), columns)
    return node.op == "conv_dw" or 2 * rows * columns >= target.accumulators


# ------------------------------------------------------------------------------- work


def work(node: Node, by: Phases) -> float:
    """Vector instructions of minimal filtering, those of transforms counted at what they cost."""
    maps, depth, images = _matrix(node)
    depth *= by.count
    pixels = depth * by.tiles * _both(by, by.down.forward.input, by.across.forward.input)
    results = maps * by.tiles * _both(by, *_last(node, by))
    filters = maps * depth * by.products * (by.down.taps + by.across.taps) / LANES
    products = by.products * by.tiles * maps * depth
    return images * (products + DEAR * (pixels + results)) + DEAR * filters


def direct_work(node: Node) -> float:
    """Vector instructions of the direct kernel, which skips what lies outside the image."""
    maps, depth, images = _matrix(node)
    taps = 1
    for axis in _axes(node):
        taps *= sum(
            1
            for phase in axis.phases()
            for _, base in phase.taps
            for q in range(phase.count)
            if 0 <= base + phase.pull * q < axis.sources
        )
    return images * taps * maps * depth


def _matrix(node: Node) -> tuple[int, int, int]:
    """Maps of all groups, source maps of each, blocks of images."""
    maps, depth = _weights(node)[:2]
    image = node.inputs[0] if node.op == "conv_dw" else node
    return maps, depth, blocks(image.type)


def _weights(node: Node) -> tuple[int, ...]:
    place = {"conv": 1, "conv_dx": 0}
    return node.inputs[place[node.op]].type.shape if node.op in place else node.type.shape


def _last(node: Node, by: Phases) -> tuple[Matrix, Matrix]:
    """What is done for every result map: back from products, or from its gradient to products."""
    if node.op == "conv_dw":
        return by.down.gradient.taps_matrix, by.across.gradient.taps_matrix
    return by.down.forward.output, by.across.forward.output


def _both(by: Phases, down: Matrix, across: Matrix) -> int:
    """Instructions of a transform along columns, then along rows, of one tile."""
    return operations(down) * len(across[0]) + operations(across) * len(down)
