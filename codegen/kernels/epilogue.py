"""What follows a contraction within its region, done while its results are at hand."""

from collections.abc import Callable, Sequence
from typing import Any

from codegen.kernels.memory import Home
from codegen.kernels.pointwise import RULES
from codegen.kernels.writer import Lane, Position, Writer
from codegen.loops import Expr
from ir.graph import Graph, Node
from ir.ops.precision import form_of

VIEWS = ("flatten", "unflatten")


FORMS = ("f32",)
"""What every device multiplies."""


def anchor(region: Graph, op: str, forms: Sequence[str] = FORMS) -> Node | str:
    """The contraction that a region of this kind begins with, or why it is not of this kind."""
    first, *rest = (node for node in region.nodes if node.inputs)
    if first.op != op:
        return f"the region begins with {first.op}"
    if strange := [node.op for node in rest if node.op not in VIEWS and node.op not in RULES]:
        return f"{strange[0]} cannot follow a contraction"
    if constants := [x.name for x in first.inputs if x.op == "constant"]:
        return (
            f"{first.op} reads the constant '{constants[0]}', expected a fed value or a parameter"
        )
    if (form := form_of(first)) not in forms:
        return f"{first.op} is only done in {', '.join(forms)}, not in {form}"
    return first


def family(
    op: str, kernel: Callable[..., Any], forms: Sequence[str] = FORMS
) -> Callable[[Graph, Any], Any]:
    """What builds the kernel of a region (given a target) that begins with an op, in one of some
    forms, and goes on pointwise, or says why it does not; `kernel(region, target, node)` can
    `build()`."""

    def built(region: Graph, target: Any) -> Any:
        node = anchor(region, op, forms)
        return node if isinstance(node, str) else kernel(region, target, node).build()

    return built


class Epilogue:
    """Finishes the results of a contraction: computes what follows, stores what is stored."""

    def __init__(self, w: Writer, first: Node) -> None:
        self._w, self._first = w, first
        nodes = [node for node in w.region.nodes if node.inputs]
        self._rest = nodes[nodes.index(first) + 1 :]
        self._stored = [n for n in nodes if n in w.region.outputs or n in w.updates]

    def write(self, at: Sequence[Expr], value: Lane) -> None:
        """Given the contraction's vector at (block, index along axis 1, ...)."""
        values = {self._first: self._w.rounded(self._first, value)}
        shape = self._first.type.shape
        positions = {shape: Position(self._w, RULES, at, values)}
        for node in self._rest:
            if node.op in VIEWS:
                values[node] = values[node.inputs[0]]
                shape = node.type.shape
                known = {n: v for n, v in values.items() if n.type.shape == shape}
                positions[shape] = Position(self._w, RULES, self._place(at, shape), known)
            else:
                values[node] = positions[node.type.shape].vector(node)
        for node in self._stored:
            home = Home(self._w, self._w.buffers[node])
            positions[node.type.shape].store(node, home, values[node])

    def prefetch(self, at: Sequence[Expr]) -> None:
        """Have at hand soon what is stored in the contraction's shape for (block, index, ...)."""
        for node in self._stored:
            if node.type.shape == self._first.type.shape:
                self._w.prefetch(self._w.buffers[node][(*at, 0)], write=True)

    def _place(self, at: Sequence[Expr], shape: Sequence[int]) -> tuple[Expr, ...]:
        """The same elements in a view of another shape; views keep axis 0."""
        if shape == self._first.type.shape:
            return tuple(at)
        flat: Expr = 0
        for index, extent in zip(at[1:], self._first.type.shape[1:], strict=True):
            flat = flat * extent + index
        inner = []
        for extent in reversed(shape[1:]):
            inner.append(flat % extent)
            flat = flat // extent
        return (at[0], *reversed(inner))
