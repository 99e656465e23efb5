"""Whether minimal filtering pays for a convolution, and with tiles of which size."""

from collections.abc import Callable
from math import prod

from codegen.kernels.axis import groups_of
from codegen.kernels.cpu.winograd.band import fills_registers
from codegen.kernels.cpu.writer import LANES, blocks
from codegen.kernels.minimal import Matrix
from codegen.kernels.winograd import tiles
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.winograd.side import Kind
from codegen.kernels.winograd.tiles import axes_of, instructions
from codegen.targets import Cpu
from ir.graph import Node

MOVED = 16
"""What it costs to write and read a transformed vector, beside an instruction."""
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
    return tiles.candidates(node, winograd) if _suits(node) else []


def _suits(node: Node) -> bool:
    """Whether there is a kernel: for groups of whole blocks of maps."""
    groups, weights = groups_of(node), _weights(node)
    whole = groups == 1 or weights[0] // groups % LANES == 0
    return whole or node.op == "conv"


def _fills_registers(node: Node, target: Cpu) -> bool:
    """Whether the maps of a result can be cut into tiles that use half of the registers."""
    maps = node.type.shape[1] // groups_of(node)
    return node.op == "conv_dw" or fills_registers(target, maps, target.tuning.strip)


# ------------------------------------------------------------------------------- work


def work(node: Node, by: Phases) -> float:
    """Vector instructions of minimal filtering, and what is moved between transforms and
    products as if by instructions."""
    maps, depth, images = _matrix(node)
    depth *= by.count
    vectors = MOVED * by.multiplied
    pixels = depth * (vectors + instructions(by, lambda kind: kind.forward.input))
    results = maps * (vectors + instructions(by, _last(node)))
    filters = maps * depth * by.products * (by.down.taps + by.across.taps + MOVED) / LANES
    return images * (by.multiplied * maps * depth + pixels + results) + filters


def direct_work(node: Node) -> float:
    """Vector instructions of the direct kernel, which skips what lies outside the image."""
    maps, depth, images = _matrix(node)
    return images * prod(axis.met for axis in axes_of(node)) * maps * depth


def _matrix(node: Node) -> tuple[int, int, int]:
    """Maps of all groups, source maps of each, blocks of images."""
    maps, depth = _weights(node)[:2]
    if node.op == "conv_dx":
        maps, depth = depth * groups_of(node), maps // groups_of(node)
    image = node.inputs[0] if node.op == "conv_dw" else node
    return maps, depth, blocks(image.type)


def _weights(node: Node) -> tuple[int, ...]:
    place = {"conv": 1, "conv_dx": 0}
    return node.inputs[place[node.op]].type.shape if node.op in place else node.type.shape


def _last(node: Node) -> Callable[[Kind], Matrix]:
    """What is done for every result map: back from products, or from its gradient to products."""
    if node.op == "conv_dw":
        return lambda kind: kind.gradient.taps_matrix
    return lambda kind: kind.forward.output
