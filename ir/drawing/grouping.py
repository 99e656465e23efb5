"""Which nodes a drawing shows as one box, and what part of training each node plays.

Neither is stored in a program: roles follow from what its results are, boxes from its regions or
from the shape of the graph. Boxes drawn from chains form no cycle: a node joins the box of an
operand that nobody else reads, or hangs on one as a copy that the box itself does not read.
"""

from collections.abc import Container, Mapping
from enum import Enum

from ir.graph import Graph, Node, ancestors
from ir.op import Fusion
from ir.ops import row_of


class Role(Enum):
    """The part a node plays in a training step."""

    FORWARD = "forward"
    BACKWARD = "backward"
    UPDATE = "update"


class Detail(Enum):
    """What becomes one box."""

    NODES = "nodes"
    CHAINS = "chains"
    REGIONS = "regions"


Leaders = dict[Node, Node]
"""Maps every node drawn to the one that stands for its box."""


# ---------------------------------------------------------------------------- roles


def roles_of(graph: Graph) -> dict[Node, Role]:
    """Forward: what the outputs need. Update: what else depends on a state. Backward: the rest.

    A new value of a parameter is an update even where no state is kept; a leaf that only updates
    read counts among them. In a program that trains nothing, all is forward.
    """
    trains = graph.gradients or graph.updates
    forward = ancestors(graph.outputs) if trains else set(graph.nodes)
    updated = {pair.value for pair in graph.updates}
    roles: dict[Node, Role] = {}
    for node in graph.nodes:
        updates = node.op == "state" or node in updated
        if node in forward:
            roles[node] = Role.FORWARD
        elif updates or any(roles[operand] is Role.UPDATE for operand in node.inputs):
            roles[node] = Role.UPDATE
        else:
            roles[node] = Role.BACKWARD
    for node, readers in graph.uses().items():
        if not node.inputs and readers and all(roles[r] is Role.UPDATE for r in readers):
            roles[node] = Role.UPDATE
    return roles


# ---------------------------------------------------------------------------- boxes


def group(graph: Graph, detail: Detail, hidden: Container[Node]) -> Leaders:
    """Part the nodes that are not hidden into boxes, each on one device.

    Raises IRError when regions are asked for and the graph has none.
    """
    shown = [node for node in graph.nodes if node not in hidden]
    if detail is Detail.NODES:
        return {node: node for node in shown}
    if detail is Detail.REGIONS:
        leaders = _regions(shown, graph.note("region"))
    else:
        leaders = _Chains(graph, hidden).leaders
    _receive(graph, leaders)
    return leaders


def _regions(shown: list[Node], region: Mapping[Node, int]) -> Leaders:
    first: dict[object, Node] = {}
    return {
        node: first.setdefault((region[node], node.device), node) if node in region else node
        for node in shown
    }


def _receive(graph: Graph, leaders: Leaders) -> None:
    """Draw a transfer inside the one box that reads it, instead of alone."""
    uses = graph.uses()
    for node in graph.nodes:
        alone = node.op == "transfer" and leaders.get(node) is node
        readers = {leaders[reader] for reader in uses[node] if reader in leaders}
        if alone and len(readers) == 1:
            leaders[node] = readers.pop()


class _Chains:
    """Boxes made of an anchor and what follows it element by element."""

    def __init__(self, graph: Graph, hidden: Container[Node]) -> None:
        self.leaders: Leaders = {}
        self._roles = roles_of(graph)
        self._readers = {node: set(readers) for node, readers in graph.uses().items()}
        self._copies: set[Node] = set()
        for node in graph.nodes:
            if node not in hidden:
                host = self._host(node)
                self.leaders[node] = node if host is None else self.leaders[host]

    def _host(self, node: Node) -> Node | None:
        operands = [o for o in node.inputs if o.inputs and o.device == node.device]
        if row_of(node).fusion is Fusion.COPY and len(node.inputs) == 1 and operands:
            self._copies.add(node)
            return operands[0]
        return next((o for o in reversed(operands) if self._takes(o, node)), None)

    def _takes(self, operand: Node, node: Node) -> bool:
        if operand.op == "transfer" or operand in self._copies:
            return False
        if self._roles[operand] is self._roles[node] is Role.UPDATE:
            return True
        follows = row_of(node).fusion in (Fusion.POINTWISE, Fusion.VIEW)
        return follows and len(self._readers[operand]) == 1
