"""grad: the backward program, by one reverse sweep over the rows of the op table.

Needs a program whose first output is a scalar loss. Ensures a gradient for every parameter that
the loss depends on; nothing is computed that no parameter needs. The cotangent of a value `x` is
named `x.d`; where several readers contribute they are summed in the order of the sweep.
"""

from functools import partial

from ir.graph import AttrValue, Graph, Names, Node, Pair
from ir.op import Absent, Adjoint, Vjp
from ir.ops import apply, row_of
from ir.type import DType, IRError
from passes.context import Context


def grad(graph: Graph, context: Context) -> Graph:
    """Append dLoss/dParameter for every parameter. Raises IRError where a rule is missing."""
    return _Sweep(graph).run()


def differentiable_parts(graph: Graph) -> set[Node]:
    """The float values that depend on a parameter."""
    parts: set[Node] = set()
    for node in graph.nodes:
        if node.op == "param" or (node.type.dtype.is_float and not parts.isdisjoint(node.inputs)):
            parts.add(node)
    return parts


class _Sweep:
    """One run: cotangents are collected from readers until their producer's turn comes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._needed = differentiable_parts(graph)
        self._names = Names(node.name for node in graph.nodes)
        self._nodes = list(graph.nodes)
        self._cotangents: dict[Node, list[Node]] = {}

    def run(self) -> Graph:
        """The program with a gradient of each parameter that its loss depends on.

        Raises IRError where it has no loss.
        """
        loss = self._loss()
        self._cotangents[loss] = [self._one(loss)]
        pairs = []
        for node in reversed(self._graph.nodes):
            if node not in self._cotangents or node not in self._needed:
                continue
            dy = self._sum(node)
            if node.op == "param":
                pairs.append(Pair(node, dy))
            else:
                self._visit(node, dy)
        pairs.reverse()
        return self._graph.replace(nodes=self._nodes, gradients=pairs)

    def _loss(self) -> Node:
        outputs = self._graph.outputs
        if not outputs or outputs[0].type.rank or outputs[0].type.dtype is not DType.F32:
            found = f"{outputs[0].name}: {outputs[0].type}" if outputs else "no output"
            raise IRError(f"grad expects the first output to be a loss of type f32[], got {found}")
        return outputs[0]

    def _one(self, loss: Node) -> Node:
        name = self._names.fresh(f"{loss.name}.d")
        one = apply("constant", name=name, type=loss.type, value=1.0)
        self._nodes.append(one)
        return one

    def _sum(self, node: Node) -> Node:
        total, *rest = self._cotangents[node]
        for part in rest:
            total = self._emit(node, "add", total, part)
        return total

    def _visit(self, node: Node, dy: Node) -> None:
        for place, operand in enumerate(node.inputs):
            if operand in self._needed:
                rule = self._rule(node, place)
                part = rule(Adjoint(node, dy, place, partial(self._emit, operand)))
                self._cotangents.setdefault(operand, []).append(part)

    def _rule(self, node: Node, place: int) -> Vjp:
        row = row_of(node)
        cell = row.gradient
        rule = cell if isinstance(cell, Absent) else cell[row.operand_name(place)]
        if isinstance(rule, Absent):
            raise IRError(
                f"'{node.name}' ({node.op}) has no gradient for operand "
                f"'{row.operand_name(place)}': {rule.reason}; expected no parameter before it"
            )
        return rule

    def _emit(self, towards: Node, op: str, *inputs: Node, **attrs: AttrValue) -> Node:
        """Append a backward node, named after the value whose cotangent it leads to."""
        name = self._names.fresh(f"{towards.name}.d")
        node = apply(op, *inputs, name=name, type=None, **attrs)
        self._nodes.append(node)
        return node
