"""evaluate: the program that classifies without training, from the placed forward program.

Dropout becomes the factor 1 - p (paper section 4.2), and the probabilities of every
classification are put out beside the loss. Parameters keep their names and places.
"""

from ir.graph import Graph, Names, Node, rewrite
from ir.ops import apply, reapply
from passes.context import Context


def evaluate(graph: Graph, context: Context) -> Graph:
    """Derive the evaluation program."""
    expected = rewrite(graph, _expectation)
    names = Names(node.name for node in expected.nodes)
    logits = dict.fromkeys(n.inputs[0] for n in expected.nodes if n.op == "cross_entropy")
    shares = [apply("softmax", z, name=names.fresh("probabilities")) for z in logits]
    return expected.replace(
        name=f"{graph.name}.evaluate",
        nodes=(*expected.nodes, *shares),
        outputs=(*expected.outputs, *shares),
    )


def _expectation(node: Node, inputs: tuple[Node, ...]) -> list[Node]:
    if node.op == "dropout":
        keep = 1.0 - float(node.attrs["p"])  # type: ignore[arg-type]
        return [apply("scale", inputs[0], name=node.name, by=keep)]
    return [reapply(node, inputs)]
