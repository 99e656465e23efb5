"""A planned program as steps: every region one kernel call, one transfer, or nothing at all."""

from collections.abc import Iterator
from dataclasses import dataclass

from codegen.layout import Blocked
from codegen.region import Region, extract
from ir.graph import Graph, Node, ancestors
from ir.op import Fusion
from ir.ops import row_of
from passes.lifetime import Lifetimes
from passes.regions import Regions


@dataclass(frozen=True)
class Call:
    """A region to run. `writes` are the program's nodes that it stores."""

    region: Region
    writes: tuple[Node, ...]

    @property
    def device(self) -> int:
        """The logical device that runs it."""
        device = self.writes[0].device
        assert device is not None
        return device.index


@dataclass(frozen=True)
class Transfer:
    """A value to be moved to another device."""

    node: Node


def steps(graph: Graph, layout: Blocked) -> Iterator[Call | Transfer]:
    """The steps of a scheduled program with devices, in its order.

    A view that lies where the viewed value lies needs no step. Nor does what nobody reads.
    """
    memory = Lifetimes(graph, lambda node: layout.bytes(node.type))
    updates = {pair.value: pair.leaf for pair in graph.updates}
    for nodes in Regions(graph).nodes.values():
        if nodes[0].op == "transfer":
            yield Transfer(nodes[0])
            continue
        writes = [n for n in nodes if n in memory.buffer and not is_alias(n, memory)]
        if writes:
            needed = ancestors(writes)
            region = extract([n for n in nodes if n in needed], set(writes), updates)
            yield Call(region, tuple(writes))


def is_alias(node: Node, memory: Lifetimes) -> bool:
    """Whether a value is a view that shares the memory of what it views."""
    if row_of(node).fusion is not Fusion.VIEW:
        return False
    return memory.buffer.get(node.inputs[0]) is memory.buffer[node]


def filled(graph: Graph) -> list[Node]:
    """The constants that must lie in memory: kernels have theirs compiled in."""
    uses = graph.uses()
    results = set(graph.results)
    return [
        leaf
        for leaf in graph.leaves("constant")
        if leaf in results or any(_reads_memory(user) for user in uses[leaf])
    ]


def _reads_memory(user: Node) -> bool:
    return user.op == "transfer" or row_of(user).fusion is Fusion.VIEW
