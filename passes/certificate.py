"""certificate: how few bytes any placement must move, by a minimum cut.

Needs devices. Whatever reads a parameter or a state is pinned where it is; every other node may
go anywhere, and fed values are everywhere. A tensor is an edge in -> out that costs its bytes;
everyone who makes or reads it hangs on it with edges that cannot be cut, so it is cut exactly if
its maker and readers are parted. By max-flow = min-cut the flow proves that no placement of the
free nodes on two devices moves fewer bytes.

With more devices the multiway cut is NP-hard. There each device is cut off from all others in
turn; every tensor that moves is counted in at least two such cuts, so half their sum is a bound.
"""

from collections.abc import Hashable
from dataclasses import dataclass

import networkx as nx

from ir.graph import Graph, Node
from ir.type import Device
from passes.fed import fed_values

STATEFUL = ("param", "state")


@dataclass(frozen=True)
class Certificate:
    """Bytes per step: what the program moves, and what any placement must move at least."""

    moved: int
    bound: int
    exact: bool


def certify(graph: Graph) -> Certificate:
    """Bound the bytes that a placed program must move under its pins."""
    moved = sum(node.type.bytes for node in graph.nodes if node.op == "transfer")
    devices = graph.devices()
    if len(devices) < 2:
        return Certificate(moved, 0, exact=True)
    network = _network(graph)
    pins = _pins(graph)
    if len(devices) == 2:
        return Certificate(moved, _cut_off(network, pins, devices[0]), exact=True)
    cuts = [_cut_off(network, pins, device) for device in devices]
    return Certificate(moved, -(-sum(cuts) // 2), exact=False)


def _source(node: Node) -> Node:
    """The value behind any transfers."""
    while node.op == "transfer":
        node = node.inputs[0]
    return node


def _network(graph: Graph) -> "nx.DiGraph[Hashable]":
    network: nx.DiGraph[Hashable] = nx.DiGraph()
    fed = fed_values(graph)
    for node in graph.nodes:
        if node in fed or node.op == "transfer":
            continue
        network.add_node(node)
        network.add_edge((node, "in"), (node, "out"), capacity=node.type.bytes)
        _hang(network, node, node)
        for operand in {_source(operand) for operand in node.inputs} - fed:
            _hang(network, operand, node)
    return network


def _hang(network: "nx.DiGraph[Hashable]", tensor: Node, member: Node) -> None:
    """Tie a maker or reader to a tensor; an edge without a capacity cannot be cut."""
    network.add_edge(member, (tensor, "in"))
    network.add_edge((tensor, "out"), member)


def _pins(graph: Graph) -> dict[Node, Device]:
    pins = {}
    for node in graph.nodes:
        owns = any(operand.op in STATEFUL for operand in node.inputs)
        if node.device and node.op != "transfer" and (owns or node.op in STATEFUL):
            pins[node] = node.device
    return pins


def _cut_off(network: "nx.DiGraph[Hashable]", pins: dict[Node, Device], device: Device) -> int:
    """The cheapest cut between what is pinned to a device and what is pinned elsewhere."""
    here = [node for node, at in pins.items() if at == device]
    elsewhere = [node for node, at in pins.items() if at != device]
    if not here or not elsewhere:
        return 0
    network.add_edges_from(("source", node) for node in here)
    network.add_edges_from((node, "sink") for node in elsewhere)
    bytes_cut, _ = nx.minimum_cut(network, "source", "sink")
    network.remove_nodes_from(("source", "sink"))
    return int(bytes_cut)
