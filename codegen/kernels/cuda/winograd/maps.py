"""The maps of a convolution, or a gradient of one, as minimal filtering counts them."""

from dataclasses import dataclass

from codegen.kernels.axis import groups_of
from codegen.kernels.cuda.writer import WARP
from codegen.kernels.winograd.phases import Phases
from ir.graph import Node


@dataclass(frozen=True)
class Maps:
    """Of each of so many groups: the maps of results (or their gradients), and those of the source,
    of which each phase counts as one."""

    groups: int
    results: int
    sources: int

    @property
    def total(self) -> int:
        """All that are transformed."""
        return self.groups * (self.results + self.sources)


def maps_of(node: Node, phases: Phases) -> Maps:
    """Of a convolution in such tiles. A weight gradient's are those of the convolution."""
    groups, sources = groups_of(node), source_of(node).type.shape[1] * phases.count
    results = (node.inputs[1] if node.op == "conv_dw" else node).type.shape[1]
    return Maps(groups, results // groups, sources // groups)


def source_of(node: Node) -> Node:
    """What is cut into tiles of pixels."""
    return node.inputs[node.op == "conv_dx"]


def weights_of(node: Node) -> Node:
    """What a convolution or its data gradient correlates them with; or what is to be found."""
    return node if node.op == "conv_dw" else node.inputs[node.op == "conv"]


def flops(node: Node, phases: Phases) -> int:
    """Of a convolution in such tiles, the transforms aside."""
    maps, images = maps_of(node, phases), -(-source_of(node).type.shape[0] // WARP) * WARP
    return 2 * images * maps.groups * maps.results * maps.sources * phases.multiplied
