"""The maxima of windows, of which max_pool_dx makes use: a value like others, computed once."""

from dataclasses import replace

from ir.graph import Graph, Names, Node
from ir.ops import apply

MAXIMA = 2
"""The operand of max_pool_dx that the kernel adds: the maxima of the windows, kept as a value."""


def with_maxima(region: Graph) -> Graph:
    """The same with the maxima that each max_pool_dx needs as a value and an operand."""
    names = Names(node.name for node in region.nodes)
    new: dict[Node, Node] = {}
    nodes: list[Node] = []
    for node in region.nodes:
        inputs = tuple(new[x] for x in node.inputs)
        if node.op == "max_pool_dx":
            maxima = apply(
                "max_pool", inputs[0], name=names.fresh("maxima"), type=None, **node.attrs
            )
            nodes.append(maxima)
            inputs = (*inputs, maxima)
        new[node] = (
            node
            if inputs == node.inputs
            else Node(node.op, inputs, node.attrs, node.type, node.name)
        )
        nodes.append(new[node])
    return Graph(
        region.name,
        tuple(nodes),
        tuple(new[node] for node in region.outputs),
        updates=tuple(replace(p, leaf=new[p.leaf], value=new[p.value]) for p in region.updates),
    )
