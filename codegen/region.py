"""A region as a program of its own: what one kernel computes, apart from where it is used.

Operands become leaves `a0, a1, ...`, results `v0, v1, ...`; devices and notes are dropped, so
towers share kernels. A state that the region updates in place is a `state` leaf with an update;
what is kept between steps and only read is a `param` leaf, so that kernels know its padding to be
zero. Constants stay constants and are compiled in.
"""

from dataclasses import dataclass

from ir.graph import Graph, Node, Pair
from ir.ops import apply


@dataclass(frozen=True)
class Region:
    """`graph` is the canonical program. `arguments` are the program's nodes whose buffers the
    kernel gets, in order: its operands, then the results that have a buffer of their own."""

    graph: Graph
    arguments: tuple[Node, ...]


def operands(graph: Graph) -> tuple[Node, ...]:
    """The leaves of a region that its kernel gets, in their order."""
    return graph.leaves("input", "param", "state")


def buffers(graph: Graph) -> tuple[Node, ...]:
    """The nodes of a region whose buffers its kernel gets, in their order."""
    return (*operands(graph), *graph.outputs)


def extract(nodes: list[Node], stored: set[Node], updates: dict[Node, Node]) -> Region:
    """Make the region of some nodes, given which are stored and which state a value replaces."""
    inside = set(nodes)
    new: dict[Node, Node] = {}
    replaced = {updates[n] for n in nodes if n in updates}
    read = dict.fromkeys(x for node in nodes for x in node.inputs if x not in inside)
    read |= dict.fromkeys(updates[n] for n in nodes if n in updates)
    leaves = [x for x in read if x.op != "constant"]
    for number, leaf in enumerate(leaves):
        kept = "param" if leaf.op in ("param", "state") else "input"
        kind = "state" if leaf in replaced else kept
        new[leaf] = apply(kind, name=f"a{number}", type=leaf.type.on(None))
    for number, leaf in enumerate(x for x in read if x.op == "constant"):
        new[leaf] = apply(
            "constant", name=f"c{number}", type=leaf.type.on(None), value=leaf.attrs["value"]
        )
    for number, node in enumerate(nodes):
        inputs = tuple(new[x] for x in node.inputs)
        new[node] = apply(node.op, *inputs, name=f"v{number}", type=None, **node.attrs)
    results = [node for node in nodes if node in stored and node not in updates]
    graph = Graph(
        "region",
        tuple(new.values()),
        tuple(new[node] for node in results),
        updates=tuple(Pair(new[updates[n]], new[n]) for n in nodes if n in updates),
    )
    return Region(graph, (*leaves, *results))
