"""fuse: gather nodes into regions, each to become one kernel. Makes no nodes.

Needs devices, and updates after everything they follow (as `sgd` leaves them). Ensures a `region`
note on every node but the leaves; the regions are a partition, each on one device, and between
regions there is no cycle.

A node may join the region of the operand that was computed last, if their declared kinds allow it
(`_welcome`). It does so only if every other region it must wait for began before that region did.
So an edge between regions always leads from an earlier beginning to a later one: no cycle can
arise. An update waits in the same way for the readers of the state it overwrites.
"""

from collections.abc import Container, Iterable

from ir.graph import Graph, Node
from ir.op import Fusion
from ir.ops import row_of
from ir.type import IRError
from passes.context import Context
from passes.regions import is_pointwise


def fuse(graph: Graph, context: Context) -> Graph:
    """Note a region for every node that does work."""
    readers = _overwritten(graph)
    regions: dict[Node, _Region] = {}
    made: list[_Region] = []
    for node in graph.nodes:
        if row_of(node).is_leaf:
            continue
        reads = [regions[x] for x in node.inputs if x in regions]
        before = readers.get(node, [])
        _require_before(node, before, regions)
        waits = reads + [regions[x] for x in before]
        region = max(reads, key=lambda r: r.number, default=None)
        if region is None or not region.admits(node, waits) or region.reads_widely(before):
            region = _Region(len(made))
            made.append(region)
        region.add(node)
        regions[node] = region
    return graph.with_note("region", {node: region.number for node, region in regions.items()})


def _overwritten(graph: Graph) -> dict[Node, list[Node]]:
    """Map each new value to the readers of the state whose memory it will take."""
    uses = graph.uses()
    return {p.value: [r for r in uses[p.leaf] if r is not p.value] for p in graph.updates}


def _require_before(node: Node, readers: Iterable[Node], regions: Container[Node]) -> None:
    for reader in readers:
        if reader not in regions:
            raise IRError(
                f"'{node.name}' takes the place of what '{reader.name}' reads later; expected "
                "every reader before the update"
            )


class _Region:
    """A growing region; its number tells when it began."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._nodes: list[Node] = []
        self._kinds: list[Fusion] = []

    def add(self, node: Node) -> None:
        """Take a node in."""
        self._nodes.append(node)
        self._kinds.append(row_of(node).fusion)

    def reads_widely(self, readers: Iterable[Node]) -> bool:
        """Whether one of them is here and for one element may read others, overwritten by then."""
        return any(reader in self._nodes and not is_pointwise(reader) for reader in readers)

    def admits(self, node: Node, waits: Iterable["_Region"]) -> bool:
        """Whether the node may join, given every region it waits for."""
        in_order = all(other is self or other.number < self.number for other in waits)
        return in_order and self._welcome(node)

    def _welcome(self, node: Node) -> bool:
        if Fusion.COPY in self._kinds:
            return False
        if is_pointwise(node):
            return self._same_extent(node)
        if row_of(node).fusion is Fusion.WINDOW:
            # relu + lrn + pool and its mirror image: two windows and what is pointwise.
            only = set(self._kinds) <= {Fusion.POINTWISE, Fusion.VIEW, Fusion.WINDOW}
            return only and self._kinds.count(Fusion.WINDOW) < 2
        return False

    def _same_extent(self, node: Node) -> bool:
        """Pointwise nodes join what has as many elements, so one loop nest serves both."""
        return node.type.elements == self._nodes[-1].type.elements
