"""transfer: move values to where they are read.

Needs `place` notes. Ensures types with devices, one transfer for each (value, destination), and
every fed value repeated on each device that reads it, under the same logical name.
"""

from ir.graph import Graph, Names, Node
from ir.leaf import logical_name
from ir.ops import apply, row_of
from ir.type import Device
from passes.context import Context
from passes.fed import fed_values


def transfer(graph: Graph, context: Context) -> Graph:
    """Turn `place` notes into types, and insert the transfers they call for."""
    return _Mover(graph).run()


class _Mover:
    """One run: `self._at[node, device]` is the new node that holds a value on a device."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._place = graph, graph.note("place")
        self._fed = fed_values(graph)
        self._names = Names(node.name for node in graph.nodes)
        self._repeated: set[Node] = set()
        self._at: dict[tuple[Node, int], Node] = {}
        self._nodes: list[Node] = []

    def run(self) -> Graph:
        for node in self._graph.nodes:
            if node not in self._fed:
                self._put(node, self._place[node], node.name)
        outputs = [self._on(node, self._place.get(node, 0)) for node in self._graph.outputs]
        return self._graph.replace(nodes=self._nodes, outputs=outputs)

    def _put(self, node: Node, device: int, name: str) -> Node:
        """Emit a node on a device, its operands brought there first."""
        inputs = [self._on(operand, device) for operand in node.inputs]
        declared = node.type.on(Device(device)) if row_of(node).is_leaf else None
        attrs = dict(node.attrs)
        if node.op == "input" and name != node.name:
            attrs["of"] = logical_name(node)
        new = apply(node.op, *inputs, name=name, type=declared, **attrs)
        self._nodes.append(new)
        self._at[node, device] = new
        return new

    def _on(self, node: Node, device: int) -> Node:
        if (node, device) in self._at:
            return self._at[node, device]
        if node in self._fed:
            return self._repeat(node, device)
        name = self._names.fresh(f"{node.name}.to{device}")
        moved = apply("transfer", self._at[node, self._place[node]], name=name, to=device)
        self._nodes.append(moved)
        self._at[node, device] = moved
        return moved

    def _repeat(self, node: Node, device: int) -> Node:
        again = node in self._repeated
        self._repeated.add(node)
        name = self._names.fresh(f"{node.name}.on{device}") if again else node.name
        return self._put(node, device, name)
