"""The laws of a program, checked after every pass.

Operands are defined before their use and belong to the program; names are unique; every node has
the type its row infers, so all operands of an op are on one device, and states all its attributes;
a gradient belongs to a parameter and has its shape; an update belongs to a parameter or state and
has its type; a bf16 copy belongs to a parameter, and is updated with it and from it.
"""

from collections.abc import Container

from ir.graph import Graph, Node, Pair
from ir.leaf import bf16_copies, copied
from ir.op import check_name, show
from ir.ops import apply
from ir.printer import print_node
from ir.type import IRError

WINDOW = 6


def verify(graph: Graph, trusted: Container[Node] = ()) -> None:
    """Raise IRError, showing the program around the guilty line, if a law is broken.

    Nodes never change, so those of a program that was verified before may be trusted: they are
    not typed again.
    """
    for name in (graph.name, *graph.notes):
        check_name(name)
    seen: dict[str, Node] = {}
    for node in graph.nodes:
        try:
            _check_scope(node, seen)
            if node not in trusted:
                _check_meaning(node)
        except IRError as error:
            raise IRError(f"in graph {graph.name}: {error}\n{window(graph, node)}") from None
        seen[node.name] = node
    _check_results(graph, seen)
    _check_copies(graph)


def _check_scope(node: Node, seen: dict[str, Node]) -> None:
    if node.name in seen:
        raise IRError(f"'{node.name}' is defined already, expected a new name")
    for operand in node.inputs:
        if seen.get(operand.name) is not operand:
            raise IRError(f"'{operand.name}' is not defined above its use in '{node.name}'")


def _check_meaning(node: Node) -> None:
    again = apply(node.op, *node.inputs, name=node.name, type=node.type, **node.attrs)
    if dict(again.attrs) != dict(node.attrs):
        stated, canonical = (
            ", ".join(f"{key}={show(value)}" for key, value in attrs.items())
            for attrs in (node.attrs, again.attrs)
        )
        raise IRError(f"'{node.name}' has the attributes {stated}, expected {canonical}")


def _check_results(graph: Graph, seen: dict[str, Node]) -> None:
    pairs = graph.gradients + graph.updates
    named = [*graph.outputs, *(p.leaf for p in pairs), *(p.value for p in pairs)]
    noted = [node for values in graph.notes.values() for node in values]
    for node in named + noted:
        if seen.get(node.name) is not node:
            raise IRError(f"in graph {graph.name}: result '{node.name}' is not one of its nodes")
    for pairs, check in ((graph.gradients, check_gradient), (graph.updates, check_update)):
        taken = set[Node]()
        for pair in pairs:
            check(pair, taken)
            taken.add(pair.leaf)


def check_gradient(pair: Pair, taken: Container[Node]) -> None:
    """Raise IRError unless the pair gives a parameter its first gradient, of its own type."""
    if pair.leaf.op != "param":
        raise IRError(
            f"'{pair.leaf.name}' is '{pair.leaf.op}', expected a param to have a gradient"
        )
    _check_pair("gradient", pair, taken)


def check_update(pair: Pair, taken: Container[Node]) -> None:
    """Raise IRError unless the pair gives a parameter or state its only next value."""
    if pair.leaf.op not in ("param", "state"):
        raise IRError(
            f"'{pair.leaf.name}' is '{pair.leaf.op}', expected a param or state to update"
        )
    _check_pair("update", pair, taken)


def _check_pair(kind: str, pair: Pair, taken: Container[Node]) -> None:
    if pair.value.type != pair.leaf.type:
        raise IRError(
            f"{kind} of '{pair.leaf.name}' has type {pair.value.type}, expected {pair.leaf.type}"
        )
    if pair.leaf in taken:
        raise IRError(f"'{pair.leaf.name}' has a second {kind}, expected one")


def _check_copies(graph: Graph) -> None:
    """Raise IRError unless each copy is that of a parameter, and stays it."""
    copies = bf16_copies(graph)
    for leaf in graph.leaves("state"):
        if copied(leaf) and leaf not in copies.values():
            raise IRError(
                f"in graph {graph.name}: '{leaf.name}' copies '{copied(leaf)}', expected a param "
                f"of that logical name, the same piece on the same device, and one copy of it"
            )
    new = {pair.leaf: pair.value for pair in graph.updates}
    for param, copy in copies.items():
        value = new.get(copy)
        made = value.inputs[0] if value is not None and value.op == "cast" else value
        if made is not new.get(param):
            raise IRError(
                f"in graph {graph.name}: '{copy.name}' copies '{param.name}', expected the two to "
                f"be updated together, the copy with a cast of the other's next value"
            )


def window(graph: Graph, guilty: Node) -> str:
    """The program around a node, its line marked."""
    place = graph.nodes.index(guilty)
    first = max(0, place - WINDOW)
    lines = [
        f"{'>' if node is guilty else ' '} {number + 2:5}  {print_node(node)}"
        for number, node in enumerate(graph.nodes[first : place + WINDOW + 1], start=first)
    ]
    return "\n".join(lines)
