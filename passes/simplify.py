"""simplify: smaller programs with the same values.

Ensures that nothing is computed twice and nothing for nobody, and that none of the equations in
`RULES` applies any more, but for values that leave the program: these stay, with their names.
"""

from collections.abc import Callable

from ir.graph import Graph, Node, ancestors, rewrite
from ir.leaf import bf16_copies
from ir.ops import reapply, row_of
from passes.context import Context

Rule = Callable[[Node], Node | None]


def simplify(graph: Graph, context: Context) -> Graph:
    """Apply the rules, then drop what no result needs.

    One walk is enough: rules only ever point to nodes further up, which are simple already.
    """
    kept, known = set(graph.results), dict[object, Node]()

    def visit(node: Node, inputs: tuple[Node, ...]) -> list[Node]:
        new = reapply(node, inputs)
        if node in kept:
            return [new]
        for rule in RULES.values():
            if (better := rule(new)) is not None:
                return [better]
        return [known.setdefault(_key(new), new)]

    return without_dead_nodes(rewrite(graph, visit))


def without_dead_nodes(graph: Graph) -> Graph:
    """Only what the results depend on, the leaves that are updated, and what copies are made of."""
    live = ancestors([*graph.results, *(pair.leaf for pair in graph.updates)])
    live |= {param for param, copy in bf16_copies(graph).items() if copy in live}
    return graph.replace(nodes=[node for node in graph.nodes if node in live])


def _key(node: Node) -> object:
    """Equal for nodes that have equal values. Only a constant leaf equals another leaf."""
    if row_of(node).is_leaf and node.op != "constant":
        return node
    return node.op, node.inputs, tuple(node.attrs.items()), node.type


def _concat_of_one(node: Node) -> Node | None:
    return node.inputs[0] if node.op == "concat" and len(node.inputs) == 1 else None


def _slice_of_all(node: Node) -> Node | None:
    whole = node.op in ("slice", "unslice") and node.type == node.inputs[0].type
    return node.inputs[0] if whole else None


def _slice_of_concat(node: Node) -> Node | None:
    if node.op != "slice" or node.inputs[0].op != "concat":
        return None
    concat, axis = node.inputs[0], node.attrs["axis"]
    if concat.attrs["axis"] != axis:
        return None
    assert isinstance(axis, int)
    start = 0
    for part in concat.inputs:
        if start == node.attrs["start"] and part.type == node.type:
            return part
        start += part.type.shape[axis]
    return None


def _slice_of_unslice(node: Node) -> Node | None:
    if node.op != "slice" or node.inputs[0].op != "unslice":
        return None
    inner = node.inputs[0]
    same = all(node.attrs[key] == inner.attrs[key] for key in ("axis", "start"))
    return inner.inputs[0] if same and inner.inputs[0].type == node.type else None


def _round_trip(node: Node) -> Node | None:
    """Two ops in a row that undo each other."""
    undone = {"flatten": "unflatten", "unflatten": "flatten", "transfer": "transfer"}
    back = node.inputs[0] if node.inputs else node
    if undone.get(node.op) != back.op or back.inputs[0].type != node.type:
        return None
    return back.inputs[0]


def _scale_by_one(node: Node) -> Node | None:
    return node.inputs[0] if node.op == "scale" and node.attrs["by"] == 1.0 else None


def _cast_to_same(node: Node) -> Node | None:
    same = node.op == "cast" and node.type == node.inputs[0].type
    return node.inputs[0] if same else None


def _dropout_of_none(node: Node) -> Node | None:
    return node.inputs[0] if node.op == "dropout" and node.attrs["p"] == 0.0 else None


RULES: dict[str, Rule] = {
    "concat(x) = x": _concat_of_one,
    "slice(x, all) = x": _slice_of_all,
    "slice(concat(.., x, ..), where x lies) = x": _slice_of_concat,
    "slice(unslice(x)) = x": _slice_of_unslice,
    "unflatten(flatten(x)) = x, there(back(x)) = x": _round_trip,
    "scale(x, 1) = x": _scale_by_one,
    "cast(x, its own type) = x": _cast_to_same,
    "dropout(x, 0) = x": _dropout_of_none,
}
