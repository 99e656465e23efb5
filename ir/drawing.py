"""A drawing of a program, before any renderer: boxes, edges, a lane per device, all words.

`ir/dot.py` and `ir/svg.py` render it. Parameters, states and scalar inputs are folded into the
boxes that read them, unless `weights` asks for them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from ir.graph import Graph, Node
from ir.grouping import Detail, Leaders, Role, group, roles_of
from ir.label import human_bytes, human_flops, op_words, shape_words, shorten
from ir.ops import row_of
from ir.printer import print_node
from ir.type import Device

MOST_NODES = 8
"""Nodes listed in one box; of more, the first ones are and the rest counted."""


@dataclass(frozen=True)
class Paint:
    """Colours of one role."""

    fill: str
    stroke: str


PAINTS = {
    None: Paint("#f3f3f3", "#8a8a8a"),
    Role.FORWARD: Paint("#deebf7", "#3a6ea5"),
    Role.BACKWARD: Paint("#fde5d2", "#c0651e"),
    Role.UPDATE: Paint("#dff0d8", "#4a8b42"),
}
TRANSFER = "#a3195b"
QUIET = "#7a7a7a"


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
    def paint(self) -> Paint:
        """Colours of the frame."""
        is_leaf = all(line.role is None for line in self.lines)
        return PAINTS[None if is_leaf else self.role]

    @property
    def tip(self) -> str:
        """The nodes as the IR text writes them."""
        return "\n".join(print_node(node) for node in self.nodes)


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


@dataclass(frozen=True)
class Lane:
    """What one device holds; the only lane of an unplaced program has no device."""

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
    def paints(self) -> dict[str, Paint]:
        """The legend: the kinds of node that occur."""
        found = {line.role for box in self.boxes for line in box.lines}
        names = {None: "fed or stored"} | {role: role.value for role in Role}
        return {names[role]: PAINTS[role] for role in PAINTS if role in found}


def draw(graph: Graph, detail: Detail | None = None, weights: bool = False) -> Drawing:
    """Lay down what a drawing shows; by default regions if there are any, else chains."""
    if detail is None:
        detail = Detail.REGIONS if "region" in graph.notes else Detail.CHAINS
    hidden = set() if weights else {node for node in graph.nodes if _folds(node)}
    leaders = group(graph, detail, hidden)
    boxes = _boxes(graph, leaders)
    edges = _edges(boxes)
    order = _topological(len(boxes), edges)
    boxes = [boxes[place] for place in order]
    edges = _edges(boxes)
    devices = graph.devices() or (None,)
    lanes = tuple(_lane(graph, device, boxes) for device in devices)
    return Drawing(graph.name, _totals(graph, len(boxes)), tuple(boxes), tuple(edges), lanes)


def _folds(node: Node) -> bool:
    scalar = node.op in ("input", "constant") and node.type.rank == 0
    return node.op in ("param", "state") or scalar


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
            yield Line("", shape_words(node) + (_folded(nodes) if is_last else ""), role)
    if len(listed) < len(nodes):
        role = roles[nodes[-1]]
        yield Line("", f"and {len(nodes) - len(listed)} more nodes", role)
        yield Line("", shape_words(nodes[-1]) + _folded(nodes), role)


def _folded(nodes: list[Node]) -> str:
    params = dict.fromkeys(i for node in nodes for i in node.inputs if i.op == "param")
    count = sum(param.type.elements for param in params)
    return f"  {count:,} weights" if count else ""


# ---------------------------------------------------------------------------- edges


def _edges(boxes: list[Box]) -> list[Edge]:
    home = {node: place for place, box in enumerate(boxes) for node in box.nodes}
    values: dict[tuple[int, int], dict[Node, None]] = {}
    for target, box in enumerate(boxes):
        for operand in (operand for node in box.nodes for operand in node.inputs):
            source = home.get(operand, target)
            if source != target:
                values.setdefault((source, target), {})[operand] = None
    return [
        Edge(source, target, sum(value.type.bytes for value in read), _crosses(boxes, source, target))
        for (source, target), read in values.items()
    ]


def _crosses(boxes: list[Box], source: int, target: int) -> bool:
    return boxes[source].device != boxes[target].device


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
    flops = sum(
        row_of(node).flops(node.type, *(i.type for i in node.inputs), **node.attrs) for node in own
    )
    title = f"{weights:,} weights, {human_flops(flops)}"
    places = tuple(place for place, box in enumerate(boxes) if box.device == device)
    return Lane(device, f"{device}: {title}" if device else title, places)


def _totals(graph: Graph, boxes: int) -> str:
    sent = [node.type.bytes for node in graph.nodes if node.op == "transfer"]
    words = [f"{len(graph.nodes)} nodes in {boxes} boxes"]
    if sent:
        plural = "" if len(sent) == 1 else "s"
        words.append(f"{len(sent)} transfer{plural} move {human_bytes(sum(sent))} per step")
    return ", ".join(words)
