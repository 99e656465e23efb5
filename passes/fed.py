"""Which values are functions of fed inputs alone, such as the augmentation.

They hold no parameters, so any device can compute them for itself: they are never cut and never
moved, but repeated on every device that reads them.
"""

from ir.graph import Graph, Node


def fed_values(graph: Graph) -> set[Node]:
    """The nodes whose leaves are all inputs or constants."""
    fed: set[Node] = set()
    for node in graph.nodes:
        if node.op in ("input", "constant") or (node.inputs and fed.issuperset(node.inputs)):
            fed.add(node)
    return fed
