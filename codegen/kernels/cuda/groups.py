"""The groups of a region while their launches are written: what they compute and where it goes."""

from collections.abc import Collection, Sequence

from codegen.kernels.cuda.rules import MAKERS, RULES, costly, lanes
from codegen.kernels.cuda.writer import Writer
from codegen.kernels.grouping import Group, Grouping
from codegen.kernels.memory import Home, Scratch
from codegen.kernels.writer import TIR_DTYPE, Lane, Position, Rule
from ir.graph import Node


class Groups:
    """`all` in order; `rules` for positions of any of them."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        grouping = Grouping(writer.region, RULES, costly(writer.region))
        self.all = grouping.groups
        self._read_later, self._uses = grouping.read_later(), writer.region.uses()
        self._made: dict[Node, Rule] = {}
        self.rules: dict[str, Rule] = {**RULES, **dict.fromkeys(MAKERS, self._finished)}

    def make(self, group: Group) -> None:
        """Launch what the group needs beforehand, if anything."""
        if group.maker:
            self._made[group.maker] = MAKERS[group.maker.op](self.writer, group.maker)

    def _finished(self, position: Position, node: Node) -> Lane:
        return self._made[node](position, node)

    def computed(self, group: Group, known: Collection[Node] = ()) -> set[Node]:
        """The nodes that a group's launch computes, given those before it and some more."""
        found: set[Node] = set()
        left = [*group.kept, *group.commits]
        while left:
            node = left.pop()
            if node.inputs and not any(node in each for each in (found, known, self.writer.places)):
                found.add(node)
                left += node.inputs
        return found

    def lanes(self, group: Group, known: Collection[Node] = ()) -> int:
        """How many lanes a thread has in a group's launch."""
        return lanes({*group.kept, *group.commits, *self.computed(group, known)})

    # ------------------------------------------------------------------------ memory

    def reserve(self, group: Group, readers: Collection[Node] = ()) -> dict[Node, Scratch | None]:
        """Where kept values go: into the workspace, or None for buffers of their own.

        What only `readers` read is at hand for them and goes nowhere.
        """
        return {node: self._place(node) for node in group.kept if self.is_stored(node, readers)}

    def is_stored(self, node: Node, readers: Collection[Node]) -> bool:
        """Whether a kept value goes anywhere, given who finds it at hand."""
        others = node in self.writer.updates or not set(self._uses[node]) <= set(readers)
        return self._is_result(node) or (node in self._read_later and others)

    def write(
        self,
        group: Group,
        places: dict[Node, Scratch | None],
        positions: Sequence[Position],
    ) -> None:
        """Compute the group at some positions, then store it there: memory may be shared."""
        w, nodes = self.writer, list(dict.fromkeys((*group.kept, *group.commits)))
        found = [{node: p.vector(node) for node in nodes} for p in positions]
        homes = {node: Home(w, array or w.buffers[node]) for node, array in places.items()}
        homes |= {node: Home(w, w.buffers[node]) for node in group.commits}
        for position, values in zip(positions, found, strict=True):
            for node, home in homes.items():
                position.store(node, home, values[node])

    def _is_result(self, node: Node) -> bool:
        return node in self.writer.region.outputs and node not in self.writer.updates

    def _place(self, node: Node) -> Scratch | None:
        if self._is_result(node):
            return None
        shape = self.writer.layout.shape(node.type)
        return self.writer.workspace(*shape, dtype=TIR_DTYPE[node.type.dtype])
