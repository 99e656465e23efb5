"""The canonical text of a program; its grammar stands in `ir/text.py`."""

from collections.abc import Iterator

from ir.graph import Graph, Node
from ir.op import show
from ir.ops import TABLE


def print_graph(graph: Graph) -> str:
    """The canonical text of a graph."""
    return "\n".join([f"graph {graph.name} {{", *_body(graph), "}"]) + "\n"


def _body(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        yield f"  {print_node(node)}{_notes(graph, node)}"
    if graph.outputs:
        yield "  output " + ", ".join(node.name for node in graph.outputs)
    for pair in graph.gradients:
        yield f"  gradient {pair.leaf.name} = {pair.value.name}"
    for pair in graph.updates:
        yield f"  update {pair.leaf.name} = {pair.value.name}"


def print_node(node: Node) -> str:
    """One line: name, type, op, operands, the attributes that differ from their defaults."""
    # A node that breaks the law must still be shown, beside the complaint.
    schema = TABLE[node.op].attrs if node.op in TABLE else {}
    defaults = {k: attr.default for k, attr in schema.items()}
    attrs = [f"{k}={show(v)}" for k, v in node.attrs.items() if v != defaults.get(k)]
    arguments = ", ".join([operand.name for operand in node.inputs] + attrs)
    return f"{node.name}: {node.type} = {node.op}({arguments})"


def _notes(graph: Graph, node: Node) -> str:
    notes = sorted(graph.notes.items())
    found = [f"{key}={values[node]}" for key, values in notes if node in values]
    return f" {{{', '.join(found)}}}" if found else ""
