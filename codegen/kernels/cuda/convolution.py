"""Which kernel does a convolution: minimal filtering where that pays, else a direct one, of boxes
where they can be copied."""

from codegen.kernels.cuda.conv import Conv, ConvDx
from codegen.kernels.cuda.conv_dw import ConvDw, ConvDwInBoxes
from codegen.kernels.cuda.folded import FoldedConv
from codegen.kernels.cuda.sliding import SlidingDw
from codegen.kernels.cuda.winograd import conv as minimal
from codegen.kernels.cuda.winograd import gradient
from codegen.kernels.cuda.winograd.choice import phases
from codegen.targets import Cuda
from ir.graph import Graph, Node


def conv(region: Graph, target: Cuda, node: Node) -> Conv | minimal.Conv:
    """A convolution."""
    direct = Conv(region, target, node)
    if direct.few:
        folded = FoldedConv(region, target, node)
        if folded.is_possible and folded.cost < direct.cost:
            return folded
    by = phases(direct, target)
    return minimal.Conv(region, target, node, by) if by else direct


def conv_dx(region: Graph, target: Cuda, node: Node) -> ConvDx | minimal.ConvDx:
    """Its data gradient."""
    direct = ConvDx(region, target, node)
    by = phases(direct, target)
    return minimal.ConvDx(region, target, node, by) if by else direct


def conv_dw(region: Graph, target: Cuda, node: Node) -> ConvDw | gradient.ConvDw:
    """Its weight gradient."""
    in_boxes = ConvDwInBoxes(region, target, node)
    if in_boxes.is_possible:
        sliding = SlidingDw.possible(region, target, node)
        return min((in_boxes, *sliding), key=lambda kernel: kernel.cost)
    direct = ConvDw(region, target, node)
    by = phases(direct, target)
    return gradient.ConvDw(region, target, node, by) if by else direct
