"""How much a kernel has to do at least: operations by definition, and bytes of its arguments."""

from math import prod

from codegen.kernels.axis import Forward, axes
from codegen.layout import layout_of
from codegen.region import operands
from ir.cost import flops
from ir.graph import Graph, Node
from ir.op import Fusion
from ir.ops import row_of
from ir.type import TensorType

WINDOWED = ("conv", "conv_dx", "conv_dw", "local", "local_dx", "local_dw")


def operations(node: Node) -> float:
    """Floating-point operations of a contraction that meet a pixel of the image; 0 for other ops.

    A multiply-add counts two. Minimal filtering does fewer, so it may exceed the peak.
    """
    if not node.inputs or row_of(node).fusion is not Fusion.ANCHOR:
        return 0.0
    return flops(node) * _inside(node) if node.op in WINDOWED else float(flops(node))


def nominal(region: Graph) -> int:
    """All operations of a region, those on padding included."""
    return sum(flops(node) for node in region.nodes)


def moved(region: Graph) -> int:
    """Bytes from and to memory where every argument moves once; a state is read and written."""
    size = layout_of("cpu").bytes
    states = region.leaves("state")
    leaves = operands(region)
    return sum(size(node.type) for node in (*leaves, *region.outputs, *states))


def _inside(node: Node) -> float:
    """The share of (position, tap) pairs in which the tap meets a pixel."""
    image, window, result = (type.shape[-2:] for type in _forward(node))
    along = axes(Forward, node, result, image, window)
    return prod(axis.met / (axis.window * axis.results) for axis in along)


def _forward(node: Node) -> tuple[TensorType, TensorType, TensorType]:
    """The types of x, w and y of the convolution that a node does or is a gradient of."""
    one, other = (x.type for x in node.inputs)
    direction = node.op.partition("_")[2]
    if direction == "dx":
        return node.type, one, other
    return (one, node.type, other) if direction == "dw" else (one, other, node.type)
