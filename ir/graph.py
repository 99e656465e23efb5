"""Nodes and graphs: immutable, one result per node, in program order.

State change is an `updates` pair (state, new value): the graph itself never assigns. What a pass
finds out about nodes without changing them (their device before transfers exist, their region,
their arena offset) is a note, printed behind the line as `{region=3}`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ir.type import Device, IRError, TensorType

AttrValue = int | float | str | tuple[int, ...]
Attrs = Mapping[str, AttrValue]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation and its one result. Compared by identity; made by `ir.op.apply`."""

    op: str
    inputs: tuple["Node", ...]
    attrs: Attrs
    type: TensorType
    name: str

    @property
    def device(self) -> Device | None:
        """Where the result lives."""
        return self.type.device

    def __repr__(self) -> str:
        return f"<{self.name}: {self.type} = {self.op}>"


@dataclass(frozen=True)
class Pair:
    """A leaf and the value that belongs to it: its gradient, or its next value."""

    leaf: Node
    value: Node


Notes = Mapping[str, Mapping[Node, int]]


@dataclass(frozen=True, eq=False)
class Graph:
    """A program: nodes in an order where operands come first, and what it is for.

    `outputs` are returned; `gradients` pair a parameter with dLoss/dParameter; `updates` pair a
    parameter or state with its value after the step.
    """

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[Node, ...]
    gradients: tuple[Pair, ...] = ()
    updates: tuple[Pair, ...] = ()
    notes: Notes = field(default_factory=dict)

    @property
    def results(self) -> tuple[Node, ...]:
        """Every node whose value leaves the program, in a fixed order."""
        pairs = self.gradients + self.updates
        return self.outputs + tuple(pair.value for pair in pairs)

    def leaves(self, *ops: str) -> tuple[Node, ...]:
        """The nodes of the given leaf ops ("input", "param", "state"), in order."""
        return tuple(node for node in self.nodes if node.op in ops)

    def devices(self) -> tuple[Device, ...]:
        """The logical devices used, ascending; empty for a program not placed yet."""
        return tuple(sorted({node.device for node in self.nodes if node.device}))

    def uses(self) -> dict[Node, list[Node]]:
        """Map each node to the nodes that read it, in order, once per operand."""
        uses: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for operand in node.inputs:
                uses[operand].append(node)
        return uses

    def note(self, key: str) -> Mapping[Node, int]:
        """The notes of one kind. Raises IRError when there are none."""
        if key not in self.notes:
            raise IRError(f"graph {self.name} has no '{key}' notes; run the pass that makes them")
        return self.notes[key]

    def with_note(self, key: str, values: Mapping[Node, int]) -> "Graph":
        """The same graph with the notes of one kind replaced."""
        return self.replace(notes={**self.notes, key: dict(values)})

    def replace(
        self,
        *,
        name: str | None = None,
        nodes: Sequence[Node] | None = None,
        outputs: Sequence[Node] | None = None,
        gradients: Sequence[Pair] | None = None,
        updates: Sequence[Pair] | None = None,
        notes: Notes | None = None,
    ) -> "Graph":
        """A copy with some parts replaced; notes about nodes that are gone are dropped."""
        kept = self.nodes if nodes is None else tuple(nodes)
        notes = self.notes if notes is None else notes
        if nodes is not None:
            notes = _restrict(notes, kept)
        return Graph(
            self.name if name is None else name,
            kept,
            self.outputs if outputs is None else tuple(outputs),
            self.gradients if gradients is None else tuple(gradients),
            self.updates if updates is None else tuple(updates),
            notes,
        )

    def __eq__(self, other: object) -> bool:
        """Equal programs: the same nodes in the same order under the same names."""
        return isinstance(other, Graph) and _structure(self) == _structure(other)

    def __hash__(self) -> int:
        return hash((self.name, len(self.nodes), tuple(node.name for node in self.outputs)))


def _restrict(notes: Notes, nodes: tuple[Node, ...]) -> Notes:
    present = set(nodes)
    kept = {key: {n: v for n, v in values.items() if n in present} for key, values in notes.items()}
    return {key: values for key, values in kept.items() if values}


def _structure(graph: Graph) -> object:
    nodes = [
        (n.name, n.op, tuple(i.name for i in n.inputs), dict(n.attrs), n.type) for n in graph.nodes
    ]
    pairs = [[(p.leaf.name, p.value.name) for p in ps] for ps in (graph.gradients, graph.updates)]
    notes = {(key, n.name): v for key, values in graph.notes.items() for n, v in values.items()}
    return graph.name, nodes, [n.name for n in graph.outputs], pairs, notes


def ancestors(results: Iterable[Node]) -> set[Node]:
    """Every node that the results depend on, themselves included."""
    stack, seen = list(results), set[Node]()
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.inputs)
    return seen


def rewrite(graph: Graph, visit: Callable[[Node, tuple[Node, ...]], Sequence[Node]]) -> Graph:
    """Rebuild a graph front to back.

    `visit(node, inputs)` gets each node with its operands already rewritten and returns the nodes
    to put in its place; the last one stands for it from there on (it may be one that was emitted
    before). Notes follow a node that stays the same object.
    """
    new: dict[Node, Node] = {}
    nodes: dict[Node, None] = {}
    for node in graph.nodes:
        replacement = visit(node, tuple(new[operand] for operand in node.inputs))
        nodes.update(dict.fromkeys(replacement))
        new[node] = replacement[-1]
    return rebuilt(graph, nodes, new)


def rebuilt(graph: Graph, nodes: Iterable[Node], new: Mapping[Node, Node]) -> Graph:
    """The graph made of `nodes`, its results and pairs being what `new` maps the old ones to."""
    return graph.replace(
        nodes=tuple(nodes),
        outputs=[new[node] for node in graph.outputs],
        gradients=[Pair(new[p.leaf], new[p.value]) for p in graph.gradients],
        updates=[Pair(new[p.leaf], new[p.value]) for p in graph.updates],
    )


class Names:
    """Hands out names that no node has yet."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def fresh(self, name: str) -> str:
        """`name` itself if it is free, else `name.1`, `name.2`, ..."""
        free, number = name, self._next.get(name, 1)
        while free in self._taken:
            free = f"{name}.{number}"
            number += 1
        self._next[name] = number
        self._taken.add(free)
        return free
