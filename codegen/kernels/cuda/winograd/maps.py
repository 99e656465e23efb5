"""The maps of a convolution, or its data gradient, as minimal filtering counts them."""

from dataclasses import dataclass

from codegen.kernels.axis import groups_of
from codegen.kernels.winograd.phases import Phases
from ir.graph import Node


@dataclass(frozen=True)
class Maps:
    """Of each of so many groups: the maps of the result, and those of the source, of which each
    phase counts as one."""

    groups: int
    results: int
    sources: int

    @property
    def total(self) -> int:
        """All that are transformed."""
        return self.groups * (self.results + self.sources)


def maps_of(node: Node, phases: Phases) -> Maps:
    """Of a convolution in such tiles."""
    groups = groups_of(node)
    sources = source_of(node).type.shape[1] * phases.count
    return Maps(groups, node.type.shape[1] // groups, sources // groups)


def source_of(node: Node) -> Node:
    """What a convolution, or a data gradient, is a correlation of."""
    return node.inputs[node.op == "conv_dx"]


def weights_of(node: Node) -> Node:
    """What it is correlated with."""
    return node.inputs[node.op == "conv"]
