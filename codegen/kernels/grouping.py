"""Which values of a region are kept in memory, and which are written in one loop nest.

Values that have a rule are computed where they are read. Kept are: what makers make, what they
read, results, what is read anywhere at all, and what a device would not compute again. Kept values
of one shape share a nest if each reads the others at its own position only. New values of states
are written last: nothing may read a state that has been overwritten.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum

from codegen.kernels.pointwise import RULES
from ir.graph import Graph, Node


class Access(Enum):
    """Where an operand is read: at the result's own position, elsewhere in its block, anywhere."""

    SAME = "same"
    MOVED = "moved"
    FREE = "free"


_MOVED = {"flatten", "unflatten", "crop"}
_FREE_FROM = {"bias_add": 1, "center": 1, "scale_by": 1, "dropout": 1}
_FREE_FROM |= {"sgd_velocity": 3, "sgd_weight": 2, "accumulate": 2}
_FREE_FROM |= {"softmax": 1, "cross_entropy_dx": 1, "cross_entropy": 0, "accuracy": 0, "bias_dw": 0}


def access_of(node: Node, place: int) -> Access:
    """How a node reads its operand number `place`."""
    if place >= _FREE_FROM.get(node.op, len(node.inputs)):
        return Access.FREE
    if node.op in RULES and node.op not in _MOVED and (node.op, place) != ("channel_shift", 1):
        return Access.SAME
    return Access.FREE if node.attrs.get("axis") == 0 else Access.MOVED


@dataclass
class Group:
    """One nest over positions of one shape. `maker`, if any, is made and not computed by a rule;
    `kept` (the maker too) are put where they live, `commits` into the states they update."""

    shape: tuple[int, ...]
    maker: Node | None = None
    kept: list[Node] = field(default_factory=list)
    commits: list[Node] = field(default_factory=list)


class Grouping:
    """The groups of a region, in order, and what follows from them.

    Ops without a rule in `rules` need a maker. `costly` values are kept whoever reads them.
    """

    def __init__(
        self, region: Graph, rules: Collection[str] = RULES, costly: Collection[Node] = ()
    ) -> None:
        self._region, self._rules = region, rules
        self.inside = [node for node in region.nodes if node.inputs]
        self._set = set(self.inside)
        self._updates = {pair.value: pair.leaf for pair in region.updates}
        self.kept = self._kept() | set(costly)
        self.groups = self._grouped()
        self._commit()

    def _kept(self) -> set[Node]:
        kept = {n for n in self.inside if n.op not in self._rules}
        kept |= {n for n in self._region.outputs if n in self._set and n not in self._updates}
        for node in self.inside:
            for place, x in enumerate(node.inputs):
                free = access_of(node, place) is Access.FREE
                if x in self._set and (free or node.op not in self._rules):
                    kept.add(x)
        return kept

    # ------------------------------------------------------------------------ groups

    def _grouped(self) -> list[Group]:
        groups: list[Group] = []
        for node in self.inside:
            if node not in self.kept:
                continue
            if node.op not in self._rules:
                groups.append(Group(node.type.shape, node, [node]))
            elif groups and self._fits(node, groups[-1]):
                groups[-1].kept.append(node)
            else:
                groups.append(Group(node.type.shape, None, [node]))
        return groups

    def _fits(self, node: Node, group: Group) -> bool:
        moved = {x for x, access in self.reaches(node) if access is not Access.SAME}
        return node.type.shape == group.shape and not moved & set(group.kept)

    def _commit(self) -> None:
        """Write the states with the last group if that is safe, else from copies of their own."""
        values = list(self._updates)
        if not values:
            return
        if not self.groups or not all(self._fits(v, self.groups[-1]) for v in values):
            self.groups.append(Group(values[0].type.shape))
        last = self.groups[-1]
        if all(self._fits(v, last) for v in values) and not self._reads_states_elsewhere(last):
            last.commits = values
            return
        if not last.kept:
            self.groups.pop()
        for value in values:
            if value not in self.kept:
                self.kept.add(value)
                self.groups.append(Group(value.type.shape, None, [value]))
        self.groups += [Group(value.type.shape, commits=[value]) for value in values]

    def _reads_states_elsewhere(self, group: Group) -> bool:
        """Whether a state to be overwritten is read other than at its own position."""
        return any(
            access is not Access.SAME or node is group.maker
            for node in self.inside
            for access in self._readings(node)
        )

    def _readings(self, node: Node, access: Access = Access.SAME) -> Iterator[Access]:
        """How a node, with what is computed for it, reads states to be overwritten."""
        for x, how in self._operands(node, access):
            if x in self._updates.values():
                yield how
            elif x in self._set and x not in self.kept:
                yield from self._readings(x, how)

    # ------------------------------------------------------------------------ reads

    def reaches(self, node: Node, access: Access = Access.SAME) -> Iterator[tuple[Node, Access]]:
        """The kept values that a node is computed from, and how they are read."""
        for x, how in self._operands(node, access):
            if x in self.kept:
                yield x, how
            elif x in self._set:
                yield from self.reaches(x, how)

    def _operands(self, node: Node, access: Access) -> Iterator[tuple[Node, Access]]:
        """How operands are read for a value that is read in this way itself."""
        for place, x in enumerate(node.inputs):
            how = access_of(node, place)
            yield x, access if how is Access.SAME else how

    @property
    def by_blocks(self) -> bool:
        """Whether each block of axis 0 can be computed on its own."""
        first = {node.type.shape[:1] for node in self.inside}
        states = set(self._updates.values())
        shared = any(
            access_of(node, place) is Access.FREE and (x in self._set or x in states)
            for node in self.inside
            for place, x in enumerate(node.inputs)
        )
        return len(first) == 1 and first != {()} and not shared

    def read_later(self) -> set[Node]:
        """Kept values that another group reads: they need a place in memory."""
        found: set[Node] = set()
        for group in self.groups:
            own = set(group.kept)
            for node in (*group.kept, *group.commits):
                found |= {x for x, _ in self.reaches(node)} - own
            found |= set(group.commits) & self.kept - own
        return found
