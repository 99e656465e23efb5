"""The regions of a fused program and what must come before what."""

from collections.abc import Iterable, Mapping, Sequence

from ir.graph import Graph, Node
from ir.op import Fusion
from ir.ops import row_of


def is_fused(graph: Graph) -> bool:
    """Whether there is work, all of it in regions."""
    noted = graph.notes.get("region", {})
    work = [node for node in graph.nodes if not row_of(node).is_leaf]
    return bool(work) and all(node in noted for node in work)


def is_pointwise(node: Node) -> bool:
    """Whether element i of its value needs element i of its operands only."""
    return row_of(node).fusion in (Fusion.POINTWISE, Fusion.VIEW)


def leaves_region(
    node: Node, region: Mapping[Node, int], uses: Mapping[Node, Sequence[Node]]
) -> bool:
    """Whether anyone outside its own region reads a node."""
    return any(region[user] != region[node] for user in uses[node])


class Regions:
    """Views of a program's `region` notes, by region number.

    `nodes` in program order; `first` the place of the first one; `before` and `after` the regions
    that must precede and follow: producers before readers, and readers of a state before the
    region that overwrites it; `updates` the new values of states; `growth` the bytes a region
    makes less those of the operands that only it reads.
    """

    def __init__(self, graph: Graph) -> None:
        self.of = graph.note("region")
        self.uses = graph.uses()
        self.updates = {pair.value: pair.leaf for pair in graph.updates}
        self.nodes: dict[int, list[Node]] = {}
        self.first: dict[int, int] = {}
        for place, node in enumerate(graph.nodes):
            if node in self.of:
                self.nodes.setdefault(self.of[node], []).append(node)
                self.first.setdefault(self.of[node], place)
        self.before: dict[int, set[int]] = {region: set() for region in self.nodes}
        self.after: dict[int, set[int]] = {region: set() for region in self.nodes}
        for node, region in self.of.items():
            for waited in self._waits_for(node):
                self._precede(waited, region)
        results = set(graph.results)
        self.growth = {region: self._growth(region, results) for region in self.nodes}

    def _waits_for(self, node: Node) -> Iterable[Node]:
        yield from node.inputs
        if node in self.updates:
            yield from self.uses[self.updates[node]]

    def _precede(self, earlier: Node, region: int) -> None:
        if earlier in self.of and self.of[earlier] != region:
            self.before[region].add(self.of[earlier])
            self.after[self.of[earlier]].add(region)

    def stored(self, node: Node, results: set[Node]) -> bool:
        """Whether a node's value outlives its region."""
        return node in results or leaves_region(node, self.of, self.uses)

    def _growth(self, region: int, results: set[Node]) -> int:
        made = sum(n.type.bytes for n in self.nodes[region] if self.stored(n, results))
        reads = {x for node in self.nodes[region] for x in node.inputs if x in self.of}
        freed = [x for x in reads if all(self.of[user] == region for user in self.uses[x])]
        return made - sum(x.type.bytes for x in freed if self.of[x] != region)
