"""The general kernel: any region without a contraction, one launch for each of its groups.

A thread computes an element of all values of a group, or some neighbours along axis 1. What ops
need beforehand (`MAKERS`) is done by launches of their own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import gcd, prod

from codegen.kernels import pointwise
from codegen.kernels.attributes import integer
from codegen.kernels.cuda import copy, loss, norm, reduce, spatial_norm, window
from codegen.kernels.cuda.position import Column
from codegen.kernels.cuda.writer import WARP, Built, Maker, Writer
from codegen.kernels.epilogue import VIEWS
from codegen.kernels.grouping import Access, Group, Grouping, access_of
from codegen.kernels.memory import Home, Scratch
from codegen.kernels.writer import TIR_DTYPE, Lane, Position, Rule
from codegen.targets import Cuda
from ir.graph import Graph, Node
from ir.type import DType

MAKERS: dict[str, Maker] = {**reduce.MAKERS, **loss.MAKERS, **spatial_norm.MAKERS}
_GATHERS: dict[str, Rule] = {**window.RULES, **norm.RULES, **spatial_norm.RULES}
_RULES: dict[str, Rule] = {**pointwise.RULES, **copy.RULES, **_GATHERS}
_COSTLY = {"tanh", "dropout", "crop", *_GATHERS, *copy.RULES}
_SINGLE = {*window.RULES, *spatial_norm.RULES, *spatial_norm.MAKERS, *copy.RULES}
_MOST, _AHEAD = 8, 4  # neighbours that one thread computes


def staged(region: Graph, target: Cuda) -> Built | str:
    """The kernel of a region, or why there is none."""
    for node in region.nodes:
        if node.type.dtype is DType.BF16:
            return "bf16 is not computed yet"
        if node.inputs and node.op not in _RULES and node.op not in MAKERS:
            return f"{node.op} is no op of this family"
    kernel = _Kernel(Writer(region, target))
    kernel.write()
    return kernel.writer.built()


class _Kernel:
    """One region being written."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self._grouping = Grouping(writer.region, _RULES, _costly(writer.region))
        self._read_later = self._grouping.read_later()
        self._made: dict[Node, Rule] = {}
        self._rules = {**_RULES, **dict.fromkeys(MAKERS, self._finished)}

    def write(self) -> None:
        """Every group, in order."""
        for group in self._grouping.groups:
            if group.maker:
                self._made[group.maker] = MAKERS[group.maker.op](self.writer, group.maker)
            self._write(group)

    def _finished(self, position: Position, node: Node) -> Lane:
        return self._made[node](position, node)

    def _write(self, group: Group) -> None:
        w, nodes = self.writer, list(dict.fromkeys((*group.kept, *group.commits)))
        places = {node: self._place(node) for node in group.kept if self._is_stored(node)}
        with self._column(group) as column:
            # Everything is computed before anything is stored: memory may be shared.
            found = [{node: p.vector(node) for node in nodes} for p in column.positions]
            homes = {node: Home(w, array or w.buffers[node]) for node, array in places.items()}
            homes |= {node: Home(w, w.buffers[node]) for node in group.commits}
            for position, values in zip(column.positions, found, strict=True):
                for node, home in homes.items():
                    position.store(node, home, values[node])
        w.places |= places

    # ------------------------------------------------------------------------ memory

    def _is_stored(self, node: Node) -> bool:
        return node in self._read_later or self._is_result(node)

    def _is_result(self, node: Node) -> bool:
        return node in self.writer.region.outputs and node not in self.writer.updates

    def _place(self, node: Node) -> Scratch | None:
        if self._is_result(node):
            return None
        shape = self.writer.layout.shape(node.type)
        return self.writer.workspace(*shape, dtype=TIR_DTYPE[node.type.dtype])

    # ------------------------------------------------------------------------ threads

    @contextmanager
    def _column(self, group: Group) -> Iterator[Column]:
        """A launch over all positions of a group. Yields a thread's own."""
        w, shape = self.writer, group.shape
        if not shape:
            with w.tasks(1, warps=1), w.when(w.lane == 0):
                yield Column(w, self._rules, ())
            return
        count = self._neighbours(group)
        extents = [-(-shape[0] // WARP), *shape[1:]]
        if count > 1:
            extents[1] //= count
        with w.tasks(prod(extents)) as task:
            block, *rest = w.indices(task, extents)
            if rest:
                rest[0] = w.let(rest[0] * count)
            yield Column(w, self._rules, (block, *rest), count)

    def _neighbours(self, group: Group) -> int:
        """How many a thread computes: norms share what they look at, others load ahead."""
        computed = self._computed(group)
        if len(group.shape) < 2 or any(node.op in _SINGLE for node in computed):
            return 1
        norms = [node for node in computed if node.op in norm.RULES]
        maps = [node.type.shape[1] // integer(node, "groups") for node in norms]
        most = _MOST if norms else _AHEAD
        together = gcd(group.shape[1], *maps)
        return max(n for n in range(1, most + 1) if together % n == 0)

    def _computed(self, group: Group) -> set[Node]:
        """The nodes that a group's launch computes."""
        found: set[Node] = set()
        left = [*group.kept, *group.commits]
        while left:
            node = left.pop()
            if node.inputs and node not in found and node not in self.writer.places:
                found.add(node)
                left += node.inputs
        return found


def _costly(region: Graph) -> set[Node]:
    """Values that are kept, for they would be computed again and again."""
    kept: set[Node] = set()

    def is_cheap(x: Node) -> bool:
        return x in kept or (x.op not in _COSTLY and all(map(is_cheap, x.inputs)))

    uses = region.uses()
    for node in region.nodes:
        for place, x in enumerate(node.inputs):
            moved = node.op not in VIEWS and access_of(node, place) is Access.MOVED
            if moved and not is_cheap(x):
                kept.add(x)
            if node.op in VIEWS and x.op in norm.RULES:
                kept.add(x)
        if node.op in _GATHERS and len(uses[node]) > 1:
            kept.add(node)
    return kept
