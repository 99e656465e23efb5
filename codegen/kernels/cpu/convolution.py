"""Which kernel does a convolution: minimal filtering where that pays, else a direct one."""

from codegen.kernels.cpu.conv import Conv, ConvDx
from codegen.kernels.cpu.conv_dw import ConvDw
from codegen.kernels.cpu.conv_dw_few import ConvDwFew, suits
from codegen.kernels.cpu.winograd import conv as minimal
from codegen.kernels.cpu.winograd import gradient
from codegen.kernels.cpu.winograd.choice import phases
from codegen.targets import Cpu
from ir.graph import Graph, Node


def conv(region: Graph, target: Cpu, node: Node) -> Conv | minimal.Conv:
    """A convolution."""
    by = phases(node, target)
    return minimal.Conv(region, target, node, by) if by else Conv(region, target, node)


def conv_dx(region: Graph, target: Cpu, node: Node) -> ConvDx | minimal.ConvDx:
    """Its data gradient."""
    by = phases(node, target)
    return minimal.ConvDx(region, target, node, by) if by else ConvDx(region, target, node)


def conv_dw(region: Graph, target: Cpu, node: Node) -> ConvDw | ConvDwFew | gradient.ConvDw:
    """Its weight gradient; few source maps fill no tile of the usual direct kernel."""
    by = phases(node, target)
    if by:
        return gradient.ConvDw(region, target, node, by)
    return (ConvDwFew if suits(node) else ConvDw)(region, target, node)
