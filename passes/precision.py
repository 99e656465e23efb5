"""precision: which arithmetic the contractions use.

`fp32` changes nothing. `tf32` rounds what contractions read to tf32. `bf16` stores activations
and their gradients as bf16, while parameters, momentum, weight gradients, the loss and all sums
stay f32. A parameter that contractions read gets a state beside it, its bf16 copy, for these to
read; the passes that update parameters write it together with the parameter.

Needs a program after `grad` or `evaluate`, without updates: so all programs of a network have the
same copies. Results keep their names and their f32 types.
"""

from collections.abc import Callable

from ir.graph import AttrValue, Graph, Names, Node, rebuilt
from ir.leaf import logical_name
from ir.op import Fusion
from ir.ops import apply, reapply, row_of
from ir.type import DType, IRError
from passes.context import PRECISIONS, Context

IN_F32 = {"softmax", "cross_entropy", "cross_entropy_dx", "accuracy"}


def precision(graph: Graph, context: Context) -> Graph:
    """Rewrite a program for `context.precision`. Raises IRError for an unknown one."""
    if context.precision == "fp32":
        return graph
    if context.precision == "tf32":
        return _Rewriter(graph, _tf32).run()
    if context.precision == "bf16":
        return _Rewriter(graph, _bf16).run()
    raise IRError(f"unknown precision '{context.precision}', expected {', '.join(PRECISIONS)}")


Rule = Callable[["_Rewriter", Node, tuple[Node, ...]], Node]
"""Makes the new node from the old one and its new operands."""


class _Rewriter:
    """Rebuilds a program, node by node; casts and copies are made once per value and type."""

    def __init__(self, graph: Graph, rule: Rule) -> None:
        self._graph, self._rule = graph, rule
        self._names = Names(node.name for node in graph.nodes)
        self._new: dict[Node, Node] = {}
        self._casts: dict[tuple[Node, DType], Node] = {}
        read = (x for node in graph.nodes if _contracts(node) for x in node.inputs)
        self._copied = {x for x in read if x.op == "param"}
        self._nodes: list[Node] = []

    def run(self) -> Graph:
        results = set(self._graph.results)
        for node in self._graph.nodes:
            inputs = tuple(self._new[operand] for operand in node.inputs)
            new = self._rule(self, node, inputs)
            if node in results and new.type != node.type:
                new = self._as_before(node, new)
            else:
                self._nodes.append(new)
            self._new[node] = new
        return rebuilt(self._graph, self._nodes, self._new)

    def cast(self, node: Node, to: DType) -> Node:
        """The value in another element type: of a parameter that contractions read, its copy."""
        if node.type.dtype is to:
            return node
        if (node, to) not in self._casts:
            name = self._names.fresh(f"{node.name}.{to}")
            is_copied = node in self._copied and to is DType.BF16
            made = _copy(node, name) if is_copied else apply("cast", node, name=name, to=to.value)
            self._casts[node, to] = made
            self._nodes.append(made)
        return self._casts[node, to]

    def _as_before(self, node: Node, new: Node) -> Node:
        """A result keeps its name and type: the new value is cast back under the old name."""
        stored = reapply(new, new.inputs, self._names.fresh(f"{node.name}.{new.type.dtype}"))
        back = apply("cast", stored, name=node.name, to=node.type.dtype.value)
        self._nodes += [stored, back]
        return back


def _contracts(node: Node) -> bool:
    return row_of(node).fusion is Fusion.ANCHOR


def _copy(param: Node, name: str) -> Node:
    """The state that is a parameter in bf16: the same piece of a logical tensor of its own."""
    logical = logical_name(param)
    attrs: dict[str, AttrValue] = {key: param.attrs[key] for key in ("whole", "offset")}
    if logical != param.name:
        attrs["of"] = f"{logical}.{DType.BF16}"
    type = param.type.with_dtype(DType.BF16)
    return apply("state", name=name, type=type, copies=logical, **attrs)


def _tf32(rewriter: _Rewriter, node: Node, inputs: tuple[Node, ...]) -> Node:
    if not _contracts(node):
        return reapply(node, inputs)
    attrs = {**node.attrs, "math": "tf32"}
    return apply(node.op, *inputs, name=node.name, type=None, **attrs)


def _bf16(rewriter: _Rewriter, node: Node, inputs: tuple[Node, ...]) -> Node:
    if node.op in IN_F32:
        cast = [rewriter.cast(x, DType.F32) if x.type.dtype.is_float else x for x in inputs]
        return reapply(node, tuple(cast))
    contraction = _contracts(node)
    if contraction or any(x.type.dtype is DType.BF16 for x in inputs):
        rank = max((x.type.rank for x in inputs), default=0)
        inputs = tuple(
            rewriter.cast(x, DType.BF16)
            if x.type.dtype is DType.F32 and (contraction or x.type.rank == rank)
            else x
            for x in inputs
        )
    return reapply(node, inputs)
