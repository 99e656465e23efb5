"""place: give every node a device. Knows no model.

Needs a program without devices. Ensures a `place` note on every node but the fed values, which
`transfer` repeats wherever they are read. First islands are joined that should never be parted: a
node with its sole producer, the readers of one parameter, a concat with its reader, a slice with
what it is cut from. Then islands take devices in program order: each the one where it would be
done first, counting the work given so far and the bytes it would have to wait for.
"""

from collections.abc import Sequence

from ir.cost import flops
from ir.graph import Graph, Node
from ir.ops import row_of
from ir.type import IRError
from passes.context import Context
from passes.fed import fed_values

FLOPS_PER_BYTE = 64
"""How many operations a device does in the time that one byte takes to reach it. Between a CPU
(11: 113 GFLOP/s, 10 GB/s) and a large GPU (150: 67 TFLOP/s, 450 GB/s)."""


def place(graph: Graph, context: Context) -> Graph:
    """Note a device for every node. Raises IRError if the graph is placed already."""
    if graph.devices():
        raise IRError(f"graph {graph.name} is placed already; expected types without devices")
    fed, uses = fed_values(graph), graph.uses()
    work = [node for node in graph.nodes if node not in fed and not row_of(node).is_leaf]
    islands = _Islands(graph, work, uses)
    devices = _assign(work, islands, context.devices)
    for leaf in graph.leaves("param", "state"):
        devices[leaf] = next((devices[user] for user in uses[leaf]), 0)
    return graph.with_note("place", devices)


class _Islands:
    """A union-find over the nodes that do work."""

    def __init__(
        self,
        graph: Graph,
        work: Sequence[Node],
        uses: dict[Node, list[Node]],
    ) -> None:
        self._parent = {node: node for node in work}
        self._uses = uses
        for leaf in graph.leaves("param", "state"):
            for user in uses[leaf][1:]:
                self._join(uses[leaf][0], user)
        for node in work:
            if node.op == "concat":
                for user in uses[node]:
                    self._join(node, user)
            elif (producer := self._sole_producer(node)) is not None:
                self._join(producer, node)

    def find(self, node: Node) -> Node:
        """The representative of a node's island."""
        while self._parent[node] is not node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node

    def _join(self, a: Node, b: Node) -> None:
        self._parent[self.find(b)] = self.find(a)

    def _sole_producer(self, node: Node) -> Node | None:
        """The one value that the node waits for, unless the two may well be parted there."""
        producers = {operand for operand in node.inputs if operand in self._parent}
        if len(producers) != 1:
            return None
        producer = producers.pop()
        if producer.op in ("concat", "slice") and node.op != "slice":
            return None
        return None if self._fans_out_to(node, producer) else producer

    def _fans_out_to(self, node: Node, producer: Node) -> bool:
        """Whether the node is one of several layers with parameters that read the producer."""
        layers = {user for user in self._uses[producer] if _has_parameters(user)}
        return node in layers and len(layers) > 1


def _has_parameters(node: Node) -> bool:
    return any(operand.op == "param" for operand in node.inputs)


def _assign(work: Sequence[Node], islands: _Islands, count: int) -> dict[Node, int]:
    """Give islands to devices, greedily by finishing time; ties go to the first device."""
    members: dict[Node, list[Node]] = {}
    for node in work:
        members.setdefault(islands.find(node), []).append(node)
    busy = [0] * count
    devices: dict[Node, int] = {}
    for island in members.values():
        reads = {operand for node in island for operand in node.inputs if operand in devices}
        amount = sum(flops(node) for node in island)
        waits = [
            FLOPS_PER_BYTE * sum(value.type.bytes for value in reads if devices[value] != device)
            for device in range(count)
        ]
        chosen = min(range(count), key=lambda device: busy[device] + waits[device])
        busy[chosen] += amount + waits[chosen]
        devices.update(dict.fromkeys(island, chosen))
    return devices
