"""schedule: one total order of the regions, aware of memory.

Needs regions. Ensures that the nodes of a region stand together, that operands come first, that
whoever reads a state comes before the region that overwrites it, and that a transfer comes as
soon as its data is there. Each device's program is the projection of this one order, so both
sides of a transfer meet at the same point and cannot wait for each other in a circle.

Two orders are made, and the one with the lower peak is kept: the program's own, and one that
always takes the region which frees most.
"""

import heapq
from collections.abc import Callable
from itertools import groupby

from ir.graph import Graph, Node
from ir.ops import row_of
from passes.context import Context
from passes.lifetime import Lifetimes
from passes.regions import Regions

Priority = Callable[[int], tuple[int, ...]]


def schedule(graph: Graph, context: Context) -> Graph:
    """Reorder the nodes of a program."""
    regions = Regions(graph)
    orders = [_order(regions, _promptly(regions)), _order(regions, _frugally(regions))]
    candidates = [_reordered(graph, regions, order) for order in orders]
    return min(candidates, key=lambda g: sum(Lifetimes(g).peak().values()))


def _order(regions: Regions, priority: Priority) -> list[int]:
    """A topological order that always takes the ready region with the smallest priority."""
    missing = {region: len(before) for region, before in regions.before.items()}
    ready = [(priority(region), region) for region, count in missing.items() if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        _, region = heapq.heappop(ready)
        order.append(region)
        for later in regions.after[region]:
            missing[later] -= 1
            if missing[later] == 0:
                heapq.heappush(ready, (priority(later), later))
    return order


def _promptly(regions: Regions) -> Priority:
    """Transfers first, then updates, then the order in which the program was written."""
    return lambda region: (_urgency(regions, region), regions.first[region])


def _frugally(regions: Regions) -> Priority:
    """Transfers first, then what leaves the fewest bytes behind."""
    return lambda region: (_urgency(regions, region), regions.growth[region], regions.first[region])


def _urgency(regions: Regions, region: int) -> int:
    nodes = regions.nodes[region]
    if nodes[0].op == "transfer":
        return 0
    return 1 if any(node in regions.updates for node in nodes) else 2


def _reordered(graph: Graph, regions: Regions, order: list[int]) -> Graph:
    """The nodes in the given order of regions, numbered anew; leaves before their first readers."""
    nodes: dict[Node, None] = {}
    for region in order:
        for node in regions.nodes[region]:
            nodes.update(dict.fromkeys(x for x in node.inputs if row_of(x).is_leaf))
        nodes.update(dict.fromkeys(regions.nodes[region]))
    nodes.update(dict.fromkeys(graph.nodes))
    place = {region: number for number, region in enumerate(order)}
    numbers = {node: place[region] for node, region in regions.of.items()}
    return graph.replace(nodes=tuple(nodes)).with_note("region", numbers)


def is_scheduled(graph: Graph) -> bool:
    """Whether the nodes of every region stand together."""
    noted = graph.notes.get("region", {})
    runs = [region for region, _ in groupby(noted[n] for n in graph.nodes if n in noted)]
    return bool(runs) and len(runs) == len(set(runs))
