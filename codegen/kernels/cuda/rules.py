"""What is known of every op without a contraction: its rule, whether to use it twice, and how many
lanes a thread has for it."""

from collections.abc import Collection

from codegen.kernels import pointwise
from codegen.kernels.cuda import copy, loss, norm, reduce, spatial_norm, window
from codegen.kernels.cuda.lanes import VECTOR
from codegen.kernels.cuda.writer import Maker
from codegen.kernels.epilogue import VIEWS
from codegen.kernels.grouping import Access, access_of
from codegen.kernels.writer import Rule
from ir.graph import Graph, Node

MAKERS: dict[str, Maker] = {**reduce.MAKERS, **loss.MAKERS, **spatial_norm.MAKERS}
"""Ops that need launches of their own beforehand."""

_GATHERS: dict[str, Rule] = {**window.RULES, **norm.RULES, **spatial_norm.RULES}

RULES: dict[str, Rule] = {**pointwise.RULES, **copy.RULES, **_GATHERS}
"""The others."""

_ALONE = {"crop", *reduce.MAKERS, *loss.MAKERS}
_MOST = 8  # lanes of a thread

_COSTLY = {"tanh", "dropout", "crop", *_GATHERS, *copy.RULES}


def costly(region: Graph) -> set[Node]:
    """Values to keep in memory, for they would be computed again and again."""
    kept: set[Node] = set()
    uses = region.uses()
    for node in region.nodes:
        kept |= {x for place, x in enumerate(node.inputs) if _is_repeated(node, place, kept)}
        if node.op in _GATHERS and len(uses[node]) > 1:
            kept.add(node)
    return kept


def lanes(nodes: Collection[Node]) -> int:
    """How many neighbouring lanes a thread has that computes some values: enough for the largest
    elements to be read and written in whole vectors, and one where lanes go different ways."""
    apart = any(node.op in _ALONE or node.attrs.get("axis") == 0 for node in nodes)
    if apart:
        return 1
    sizes = {x.type.dtype.bytes for node in nodes for x in (node, *node.inputs) if x.type.shape}
    return norm.lanes(nodes, min(_MOST, VECTOR // max(sizes, default=VECTOR)))


def _is_repeated(node: Node, place: int, kept: set[Node]) -> bool:
    """Whether reading an operand where it lies is better than computing it."""
    x = node.inputs[place]
    if node.op in VIEWS:
        # Maps of one pixel are far apart in the view.
        return x.op in norm.RULES
    return access_of(node, place) is Access.MOVED and not _is_cheap(x, kept)


def _is_cheap(x: Node, kept: set[Node]) -> bool:
    return x in kept or (x.op not in _COSTLY and all(_is_cheap(y, kept) for y in x.inputs))
