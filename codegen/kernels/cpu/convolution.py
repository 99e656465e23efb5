"""Which kernel does a convolution: minimal filtering where that pays, else a direct one."""

from codegen.kernels.cpu import conv as direct
from codegen.kernels.cpu import conv_dw as direct_dw
from codegen.kernels.cpu import conv_dw_few
from codegen.kernels.cpu.winograd import correlation as minimal
from codegen.kernels.cpu.winograd.choice import phases
from codegen.targets import Cpu
from ir.graph import Graph, Node


def conv(region: Graph, target: Cpu, node: Node) -> minimal.Conv | direct.Conv:
    """A convolution."""
    by = phases(node, target)
    return minimal.Conv(region, target, node, by) if by else direct.Conv(region, target, node)


def conv_dx(region: Graph, target: Cpu, node: Node) -> minimal.ConvDx | direct.ConvDx:
    """Its data gradient."""
    by = phases(node, target)
    return minimal.ConvDx(region, target, node, by) if by else direct.ConvDx(region, target, node)


def conv_dw(region: Graph, target: Cpu, node: Node) -> direct_dw.ConvDw | conv_dw_few.ConvDwFew:
    """Its weight gradient; few source maps fill no tile of the usual kernel."""
    few = conv_dw_few.suits(node)
    return (conv_dw_few.ConvDwFew if few else direct_dw.ConvDw)(region, target, node)
