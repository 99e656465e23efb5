"""A drawing of a program, before any renderer: boxes, edges, a lane per device, all words.

`ir/dot.py` and `ir/svg.py` render it. Parameters, states and scalar inputs are folded into the
boxes that read them, unless `weights` asks for them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from ir.cost import flops
from ir.drawing.grouping import Detail, Leaders, Role, group, roles_of
from ir.drawing.label import human_bytes, human_flops, op_words, shape_words, shorten
from ir.drawing.paint import PAINTS, Paint
from ir.graph import Graph, Node
from ir.printer import print_node
from ir.type import Device

BESIDE = 4
"""Boxes without edges that stand in a row."""

MOST_NODES, MOST_IN_TIP = 8, 40
"""Nodes listed in a box and in its tip; in a box the others are counted."""


@dataclass(frozen=True)
class Line:
    """One line in a box. Leaves have no role; a line about a shape has no name."""

    name: str
    text: str
    role: Role | None


@dataclass(frozen=True)
class Box:
    """Some nodes drawn as one. `role` says in which column it belongs: that of its last node."""

    nodes: tuple[Node, ...]
    lines: tuple[Line, ...]
    role: Role
    device: Device | None

    @property
    def is_leaf(self) -> bool:
        """Whether nothing in it is computed."""
        return all(line.role is None for line in self.lines)

    @property
    def paint(self) -> Paint:
        """Colours of the frame."""
        return PAINTS[None if self.is_leaf else self.role]

    @property
    def tip(self) -> str:
        """The first nodes as the IR text writes them."""
        return "\n".join(print_node(node) for node in self.nodes[:MOST_IN_TIP])


NetKey = tuple[int, bool]
"""A box, and whether the edges meant are transfers."""


@dataclass(frozen=True)
class Edge:
    """Values that the box `target` reads from the box `source`: their bytes, how they come."""

    source: int
    target: int
    bytes: int
    transfer: bool

    @property
    def label(self) -> str:
        """The bytes, for people."""
        return human_bytes(self.bytes)

    @property
    def net(self) -> NetKey:
        """What it shares its way with as long as it can: its source's other edges of its kind."""
        return self.source, self.transfer


@dataclass(frozen=True)
class Lane:
    """What one device holds, or, without a device, what is not placed."""

    device: Device | None
    title: str
    boxes: tuple[int, ...]


@dataclass(frozen=True)
class Drawing:
    """Boxes in topological order, named by their index; edges; a lane per device."""

    title: str
    subtitle: str
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    lanes: tuple[Lane, ...]

    @property
    def alone(self) -> list[list[int]]:
        """For each lane the boxes without edges."""
        joined = {place for edge in self.edges for place in (edge.source, edge.target)}
        return [[place for place in lane.boxes if place not in joined] for lane in self.lanes]

    @property
    def paints(self) -> dict[str, Paint]:
        """The legend: the kinds of node that occur."""
        found = {line.role for box in self.boxes for line in box.lines}
        names = {None: "fed or stored"} | {role: role.value for role in Role}
        return {names[role]: PAINTS[role] for role in PAINTS if role in found}


def draw(graph: Graph, detail: Detail | None = None, weights: bool = False) -> Drawing:
    """Lay down what a drawing shows; by default regions if there are any, else chains."""
    if detail is None:
        detail = Detail.REGIONS if "region" in graph.notes else Detail.CHAINS
    hidden = set() if weights else _folded(graph)
    boxes = _boxes(graph, group(graph, detail, hidden))
    boxes = [boxes[place] for place in _topological(len(boxes), _edges(boxes))]
    edges = _edges(boxes)
    placed = graph.devices()
    anywhere = any(node.device is None for node in graph.nodes) or not placed
    lanes = tuple(_lane(graph, each, boxes) for each in ((None,) if anywhere else ()) + placed)
    return Drawing(graph.name, _totals(graph, len(boxes)), tuple(boxes), tuple(edges), lanes)


def _folded(graph: Graph) -> set[Node]:
    """Leaves that would only clutter; what is returned or sent is shown."""
    scalars = {n for n in graph.leaves("input", "constant") if n.type.rank == 0}
    sent = {operand for n in graph.nodes if n.op == "transfer" for operand in n.inputs}
    return scalars.union(graph.leaves("param", "state")) - sent - set(graph.outputs)


# ---------------------------------------------------------------------------- boxes


def _boxes(graph: Graph, leaders: Leaders) -> list[Box]:
    roles, outputs = roles_of(graph), set(graph.outputs)
    members: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        if node in leaders:
            members.setdefault(leaders[node], []).append(node)
    return [
        Box(tuple(nodes), tuple(_lines(nodes, roles, outputs)), roles[nodes[-1]], nodes[0].device)
        for nodes in members.values()
    ]


def _lines(nodes: list[Node], roles: dict[Node, Role], outputs: set[Node]) -> Iterable[Line]:
    listed = nodes if len(nodes) <= MOST_NODES else nodes[: MOST_NODES - 1]
    for place, node in enumerate(listed):
        role = roles[node] if node.inputs else None
        result = " → output" if node in outputs else ""
        yield Line(shorten(node.name), op_words(node) + result, role)
        is_last = place == len(nodes) - 1
        if is_last or nodes[place + 1].type != node.type:
            yield Line("", shape_words(node) + (_weights(nodes) if is_last else ""), role)
    if len(listed) < len(nodes):
        role = roles[nodes[-1]]
        yield Line("", f"and {len(nodes) - len(listed)} more nodes", role)
        yield Line("", shape_words(nodes[-1]) + _weights(nodes), role)


def _weights(nodes: list[Node]) -> str:
    params = dict.fromkeys(i for node in nodes for i in node.inputs if i.op == "param")
    count = sum(param.type.elements for param in params)
    return f" · {count:,} weights" if count else ""


# ---------------------------------------------------------------------------- edges


def _edges(boxes: list[Box]) -> list[Edge]:
    home = {node: place for place, box in enumerate(boxes) for node in box.nodes}
    carried: dict[tuple[int, int], dict[Node, None]] = {}
    for target, box in enumerate(boxes):
        for node in box.nodes:
            for operand in node.inputs:
                source = home.get(operand, target)
                if source != target:
                    # A value read twice comes once; sent twice, it comes twice.
                    value = node if node.op == "transfer" else operand
                    carried.setdefault((source, target), {})[value] = None
    return [
        Edge(
            source,
            target,
            sum(value.type.bytes for value in values),
            transfer=boxes[source].device != boxes[target].device,
        )
        for (source, target), values in carried.items()
    ]


def _topological(count: int, edges: list[Edge]) -> list[int]:
    """Sources before targets, else as in the program; a cycle of boxes is entered at its first."""
    targets: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for edge in edges:
        targets[edge.source].append(edge.target)
        waiting[edge.target] += 1
    ready = [place for place in range(count) if not waiting[place]]
    heapify(ready)
    order: dict[int, None] = {}
    first = 0
    while len(order) < count:
        while first in order:
            first += 1
        place = heappop(ready) if ready else first
        order[place] = None
        for target in targets[place]:
            waiting[target] -= 1
            if not waiting[target] and target not in order:
                heappush(ready, target)
    return list(order)


# ---------------------------------------------------------------------------- words


def _lane(graph: Graph, device: Device | None, boxes: list[Box]) -> Lane:
    own = [node for node in graph.nodes if node.device == device]
    weights = sum(node.type.elements for node in own if node.op == "param")
    title = f"{weights:,} weights, {human_flops(sum(map(flops, own)))}"
    places = tuple(place for place, box in enumerate(boxes) if box.device == device)
    return Lane(device, f"{device}: {title}" if device else title, places)


def _totals(graph: Graph, boxes: int) -> str:
    sent = [node.type.bytes for node in graph.nodes if node.op == "transfer"]
    words = [f"{len(graph.nodes)} nodes in {boxes} boxes"]
    if sent:
        verb = "transfer moves" if len(sent) == 1 else "transfers move"
        words.append(f"{len(sent)} {verb} {human_bytes(sum(sent))} per step")
    return ", ".join(words)
