"""schedule: one total order of the regions, aware of time and of memory.

Needs regions. Ensures that the nodes of a region stand together, that operands come first, that
whoever reads a state comes before the region that overwrites it, and that a transfer comes as
soon as its data is there. Each device's program is the projection of this one order, so both
sides of a transfer meet at the same point and cannot wait for each other in a circle.

A transfer holds up both its devices until they meet. So the order is that of a simulated run, in
which every device has a clock: what can begin earliest comes first, and no device is made to meet
another one while it could still work. Two such orders are made, and the one with the lower peak is
kept: of what can begin at once, one prefers the program's own order, the other what frees most.
"""

import heapq
from collections.abc import Callable
from itertools import groupby

from ir.cost import bytes_moved, flops
from ir.graph import Graph, Node
from ir.ops import row_of
from ir.type import Device, IRError
from passes.context import Context
from passes.lifetime import Lifetimes
from passes.regions import Regions, is_fused

Priority = Callable[[int], tuple[int, ...]]

FLOPS_PER_BYTE = 8
"""Operations in the time that one byte takes to come from memory: 80 GFLOP/s, 10 GB/s."""


def schedule(graph: Graph, context: Context) -> Graph:
    """Reorder the nodes of a program."""
    regions = Regions(graph)
    orders = [_order(regions, _promptly(regions)), _order(regions, _frugally(regions))]
    candidates = [_reordered(graph, regions, order) for order in orders]
    return min(candidates, key=lambda g: sum(Lifetimes(g).peak().values()))


def _order(regions: Regions, priority: Priority) -> list[int]:
    """The order in which the regions of a simulated run begin; ties go by priority."""
    missing = {region: len(before) for region, before in regions.before.items()}
    clocks = _Clocks(regions)
    ready = [(clocks.start(r), priority(r), r) for r, count in missing.items() if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        start, rank, region = heapq.heappop(ready)
        if clocks.start(region) > start:  # a device has moved on since
            heapq.heappush(ready, (clocks.start(region), rank, region))
            continue
        clocks.run(region)
        order.append(region)
        for later in regions.after[region]:
            missing[later] -= 1
            if missing[later] == 0:
                heapq.heappush(ready, (clocks.start(later), priority(later), later))
    if len(order) < len(missing):
        raise IRError("regions wait for each other in a circle; expected some that 'fuse' notes")
    return order


class _Clocks:
    """A simulated run: until when each device is busy, and when each region was done."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        self._busy: dict[Device | None, int] = {}
        self._done: dict[int, int] = {}

    def start(self, region: int) -> int:
        """When a region can begin: its devices are free, and what it waits for is done."""
        free = (self._busy.get(device, 0) for device in self._devices(region))
        waits = (self._done[before] for before in self._regions.before[region])
        return max(*free, *waits, 0)

    def run(self, region: int) -> None:
        """Let a region run from its start on."""
        end = self.start(region) + sum(map(_cost, self._regions.nodes[region]))
        self._done[region] = end
        self._busy.update(dict.fromkeys(self._devices(region), end))

    def _devices(self, region: int) -> set[Device | None]:
        first = self._regions.nodes[region][0]
        return {first.device} | ({first.inputs[0].device} if first.op == "transfer" else set())


def _cost(node: Node) -> int:
    return max(flops(node), FLOPS_PER_BYTE * bytes_moved(node))


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
    """The nodes in the given order of regions, numbered anew; leaves before whom they concern."""
    nodes: dict[Node, None] = {}
    for region in order:
        for node in regions.nodes[region]:
            nodes.update(dict.fromkeys(x for x in node.inputs if row_of(x).is_leaf))
            if node in regions.updates:
                nodes[regions.updates[node]] = None
        nodes.update(dict.fromkeys(regions.nodes[region]))
    nodes.update(dict.fromkeys(graph.nodes))
    place = {region: number for number, region in enumerate(order)}
    numbers = {node: place[region] for node, region in regions.of.items()}
    return graph.replace(nodes=tuple(nodes)).with_note("region", numbers)


def is_scheduled(graph: Graph) -> bool:
    """Whether the nodes of every region stand together."""
    if not is_fused(graph):
        return False
    noted = graph.note("region")
    runs = [region for region, _ in groupby(noted[n] for n in graph.nodes if n in noted)]
    return len(runs) == len(set(runs))
