"""split: cut whole tensors into k branches, by each op's own split rule.

Needs an unplaced forward program. Ensures the same values: a tensor `x` that is cut along axis 1
becomes x.0 ... x.(k-1), and a concat wherever somebody reads it whole. Parameters are cut with
their op. What a rule refuses stays whole, and the reason is said.
"""

from collections.abc import Sequence

from ir.graph import AttrValue, Graph, Names, Node
from ir.leaf import logical_name, logical_shape, offset_of
from ir.op import Absent, Local, Param, Read, Shards, Whole
from ir.ops import apply, reapply, row_of
from passes.context import Context
from passes.fed import fed_values


def split(graph: Graph, context: Context) -> Graph:
    """Cut a graph into `context.devices` branches."""
    return graph if context.devices == 1 else _Splitter(graph, context).run()


class _Splitter:
    """One run: old nodes map to a whole new node, to k shards, or to both."""

    def __init__(self, graph: Graph, context: Context) -> None:
        self._graph, self._k, self._say = graph, context.devices, context.say
        self._fed, self._uses = fed_values(graph), graph.uses()
        self._names = Names(node.name for node in graph.nodes)
        self._nodes: list[Node] = []
        self._whole: dict[Node, Node] = {}
        self._shards: dict[Node, list[Node]] = {}
        self._concats: dict[tuple[Node, int], Node] = {}

    def run(self) -> Graph:
        for node in self._graph.nodes:
            if not row_of(node).is_leaf:
                self._visit(node)
            elif not self._cut_on_demand(node):
                self._keep(node)
        outputs = [self._all_of(node) for node in self._graph.outputs]
        return self._graph.replace(nodes=self._nodes, outputs=outputs)

    def _visit(self, node: Node) -> None:
        shards = self._rule(node)
        if shards is None:
            self._keep(node)
        else:
            self._shards[node] = [self._shard(node, shards, i) for i in range(self._k)]

    def _rule(self, node: Node) -> Shards | None:
        """How the node falls apart, or None if it stays whole."""
        if node in self._fed:
            return None
        rule = row_of(node).split
        found = (
            rule.reason
            if isinstance(rule, Absent)
            else rule(self._k, *(operand.type for operand in node.inputs), **node.attrs)
        )
        if isinstance(found, Shards):
            return found if self._begins_or_continues(node, found.reads) else None
        if any(operand in self._shards or operand.op == "param" for operand in node.inputs):
            self._say(f"split: {node.name} ({node.op}) stays whole: {found}")
        return None

    def _begins_or_continues(self, node: Node, reads: Sequence[Read]) -> bool:
        """A cut begins where parameters are cut and all else is read whole; elementwise and
        grouped ops only continue one."""
        pairs = zip(node.inputs, reads, strict=True)
        if any(operand in self._shards and isinstance(read, Local) for operand, read in pairs):
            return True
        return {type(read) for read in reads} == {Whole, Param}

    # ------------------------------------------------------------------------ emitting

    def _keep(self, node: Node) -> None:
        inputs = tuple(self._all_of(operand) for operand in node.inputs)
        self._whole[node] = self._add(reapply(node, inputs))

    def _shard(self, node: Node, shards: Shards, i: int) -> Node:
        inputs = [
            self._read(operand, read, i)
            for operand, read in zip(node.inputs, shards.reads, strict=True)
        ]
        attrs = {**node.attrs, **shards.attrs(i)}
        return self._emit(node.op, inputs, f"{node.name}.{i}", attrs)

    def _read(self, operand: Node, read: Read, i: int) -> Node:
        if isinstance(read, Whole):
            return self._all_of(operand, i)
        if operand in self._shards and read.axis == 1:
            return self._shards[operand][i]
        if self._cut_on_demand(operand) and operand not in self._whole:
            return self._piece(operand, read.axis, i)
        size = operand.type.shape[read.axis] // self._k
        attrs: dict[str, AttrValue] = {"axis": read.axis, "start": i * size, "size": size}
        return self._emit("slice", [self._all_of(operand)], f"{operand.name}.part{i}", attrs)

    def _cut_on_demand(self, leaf: Node) -> bool:
        """A parameter with one reader is cut as that reader wants it; a shared one stays whole, as
        does a result."""
        alone = len(self._uses[leaf]) == 1 and leaf not in self._graph.outputs
        return leaf.op == "param" and alone

    def _piece(self, param: Node, axis: int, i: int) -> Node:
        size = param.type.shape[axis] // self._k
        shape, offset = list(param.type.shape), list(offset_of(param))
        shape[axis], offset[axis] = size, offset[axis] + i * size
        attrs = {
            **param.attrs,
            "of": logical_name(param),
            "whole": logical_shape(param),
            "offset": tuple(offset),
        }
        name = self._names.fresh(f"{param.name}.{i}")
        return self._add(apply(param.op, name=name, type=param.type.with_shape(*shape), **attrs))

    def _all_of(self, node: Node, reader: int | None = None) -> Node:
        """The whole value: the node itself, or a concat of its shards.

        Each branch that reads it whole gets a concat of its own, to be placed beside its reader.
        """
        if node not in self._shards:
            if node not in self._whole:
                self._keep(node)
            return self._whole[node]
        key = (node, -1 if reader is None else reader)
        if key not in self._concats:
            name = node.name if reader is None else self._names.fresh(f"{node.name}.at{reader}")
            concat = apply("concat", *self._shards[node], name=name, axis=1)
            self._concats[key] = self._add(concat)
        return self._concats[key]

    def _emit(
        self, op: str, inputs: Sequence[Node], name: str, attrs: dict[str, AttrValue]
    ) -> Node:
        node = apply(op, *inputs, name=self._names.fresh(name), type=None, **attrs)
        return self._add(node)

    def _add(self, node: Node) -> Node:
        self._nodes.append(node)
        return node
