"""evaluate: the program that classifies without training, from the placed forward program.

Dropout becomes the factor 1 - p (paper section 4.2). Beside the loss are put out, of every
classification, `probabilities` and, if a dense layer makes the logits, what that layer reads as
`penultimate`: the features of an image. Parameters keep their names and places.
"""

from ir.graph import Graph, Names, Node, rewrite
from ir.ops import apply, reapply
from passes.context import Context


def evaluate(graph: Graph, context: Context) -> Graph:
    """Derive the evaluation program."""
    expected = rewrite(graph, _expectation)
    names = Names(node.name for node in expected.nodes)
    logits = dict.fromkeys(n.inputs[0] for n in expected.nodes if n.op == "cross_entropy")
    more = [apply("softmax", z, name=names.fresh("probabilities")) for z in logits]
    layers = (_dense_before(z) for z in logits)
    # A matrix flattened is a view of it: it takes a name, but neither memory nor time.
    more += [
        apply("flatten", layer.inputs[0], name=names.fresh("penultimate"))
        for layer in layers
        if layer is not None
    ]
    return expected.replace(
        name=f"{graph.name}.evaluate",
        nodes=(*expected.nodes, *more),
        outputs=(*expected.outputs, *more),
    )


def _dense_before(logits: Node) -> Node | None:
    """The dense layer, or one piece of it, that logits come from."""
    node = logits
    while node.op in ("bias_add", "concat", "transfer"):
        node = node.inputs[0]
    return node if node.op == "dense" else None


def _expectation(node: Node, inputs: tuple[Node, ...]) -> list[Node]:
    if node.op == "dropout":
        keep = 1.0 - float(node.attrs["p"])  # type: ignore[arg-type]
        return [apply("scale", inputs[0], name=node.name, by=keep)]
    return [reapply(node, inputs)]
