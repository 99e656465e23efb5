"""How a region's work is cut into pieces whose values stay in the second cache.

A task does some rows of axis 2 of some maps of one block, a strip after the other; a value is
computed once in a task. Rows that two tasks need are computed by both.
"""

from collections.abc import Sequence
from math import lcm, prod

from tvm import tirx

from codegen.kernels.attributes import integer
from codegen.kernels.cpu import norm, spatial_norm, window, window_dx
from codegen.kernels.cpu.writer import LANES, Writer, blocks
from codegen.kernels.grouping import Access, Group, Grouping, access_of
from codegen.kernels.pointwise import RULES
from codegen.kernels.ranges import Range, largest, least
from codegen.loops import Expr
from ir.graph import Node

TASKS = 64
"""As many as keep the threads of a usual machine busy; for more of them tasks have fewer strips."""
_STRIPS = 4  # of a task, unless threads are many: the rows that it shares with others must be few

ROWS = {
    op: family.rows_of for family in (window, window_dx, norm, spatial_norm) for op in family.MAKERS
}
"""Which rows of an operand an op reads."""


class Bands:
    """Maps and rows of a block; all of it, or all rows, where the region cannot be cut so.

    `axis` is the one that is cut: 2 for maps and rows, 1 where elements are independent, else 0.
    Each of `chunks` of the maps has its `strips`, in `least` parts at least.
    """

    def __init__(self, writer: Writer, grouping: Grouping) -> None:
        self._grouping, self.groups = grouping, grouping.groups
        self._results = set(writer.region.outputs)
        self.axis = self._cut_axis(bool(writer.updates))
        self.maps = self.chunks = self.strips = self.least = 1
        if self.axis:
            self._cut(writer.target.tuning.cached)

    def _cut_axis(self, updates: bool) -> int:
        if not self._grouping.by_blocks:
            return 0
        if self._is_independent():
            rank = len(self.groups[0].shape)
            return 2 if rank == 4 else min(1, rank // 2)
        nodes = self._grouping.inside
        rows = all(n.type.rank == 4 and (n.op in ROWS or _same_rows(n)) for n in nodes)
        maps = {n.type.shape[1:2] for n in nodes}
        return 2 if rows and len(maps) == 1 and not updates else 0

    def _is_independent(self) -> bool:
        """Whether no element needs another one."""
        return len(self.groups) == 1 and self.groups[0].maker is None

    def _cut(self, cached: int) -> None:
        """Into strips whose values fill a cache, and as many tasks as are wanted."""
        nodes = self._grouping.inside
        alone = self._is_independent()
        shape = self.groups[0].shape if alone else max((n.type.shape for n in nodes), key=prod)
        values = {x for n in nodes for x in (n, *n.inputs) if x.type.rank == len(shape)}
        row = 4 * LANES * sum(prod(x.type.shape[3:]) for x in values)
        if self.axis == 1:
            elements = 4 * LANES * len(values) * prod(shape[1:])
            self.strips = self.least = max(1, min(shape[1], -(-elements // cached)))
            return
        self.maps = _fitting(shape[1], self._together(shape[1]), cached // (row * shape[2]))
        self.chunks = shape[1] // self.maps
        strips = min(shape[2], -(-row * self.maps * shape[2] // cached))
        wanted = -(-TASKS // (blocks(nodes[0].type) * self.chunks))
        self.least = max(1, min(wanted, strips // _STRIPS))
        self.strips = -(-strips // self.least) * self.least

    def _together(self, maps: int) -> int:
        """How many maps must be computed together."""
        norms = [n for n in self._grouping.inside if n.op in norm.MAKERS]
        return lcm(*(maps // integer(n, "groups") for n in norms))

    # ------------------------------------------------------------------------ ranges

    def ranges(self, strip: Expr, step: Expr) -> list[Range]:
        """Of each group, what a strip, number `step` of its task, must compute: what it needs, less
        what was done before."""
        if not self.axis:
            return [(0, group.shape[2] if len(group.shape) > 2 else 1) for group in self.groups]
        ranges = self._needs(strip)
        if self.strips == 1:
            return ranges
        before = self._needs(largest(strip - 1, 0))
        return [
            (_after(step, low, done), high)
            for (low, high), (_, done) in zip(ranges, before, strict=True)
        ]

    def longest(self) -> list[int]:
        """Of each group, the most that a strip needs."""
        if not self.axis:
            return [high for _, high in self.ranges(0, 0)]
        strips = range(self.strips)
        lengths = [[max(0, high - low) for low, high in self._needs(n)] for n in strips]
        return [max(of_group) for of_group in zip(*lengths, strict=True)]

    def _needs(self, strip: Expr) -> list[Range]:
        """Of each group, the range along the axis: its own share, and what later groups read."""
        needs: dict[Node, list[Range]] = {}
        ranges: list[Range] = []
        for group in reversed(self.groups):
            wanted = [self._share(group, strip)] if self._is_result(group) else []
            for node in group.kept:
                wanted += needs.get(node, [])
            ranges.append(_hull(wanted))
            for node in group.kept:
                for x, needed in self._needed(node, ranges[-1]):
                    needs.setdefault(x, []).append(needed)
        return ranges[::-1]

    def _share(self, group: Group, strip: Expr) -> Range:
        """The part of a group's axis that a strip must write, whatever else it needs."""
        extent, count = group.shape[self.axis], self.strips
        if isinstance(strip, int):
            return strip * extent // count, (strip + 1) * extent // count
        begin, end = (tirx.truncdiv(n * extent, count) for n in (strip, strip + 1))
        return begin, end

    def _needed(self, node: Node, rows: Range) -> list[tuple[Node, Range]]:
        found = []
        for place, x in enumerate(node.inputs):
            rule = ROWS.get(node.op)
            needed = rule(node, place, rows) if rule else rows
            if x in self._grouping.kept:
                found.append((x, needed))
            elif x.inputs:
                found += self._needed(x, needed)
        return found

    def _is_result(self, group: Group) -> bool:
        return bool(group.commits) or any(node in self._results for node in group.kept)


def _same_rows(node: Node) -> bool:
    """Whether a pointwise op reads its operands of rank 4 in the same rows."""
    return node.op in RULES and all(
        access_of(node, place) is Access.SAME or (x.type.rank < 4 and not x.inputs)
        for place, x in enumerate(node.inputs)
    )


def _fitting(maps: int, together: int, most: int) -> int:
    """The largest divisor of so many maps that fits, in multiples of those computed together."""
    units = maps // together
    return together * max(
        (n for n in range(1, units + 1) if units % n == 0 and n * together <= most), default=1
    )


def _hull(ranges: Sequence[Range]) -> Range:
    low, high = ranges[0] if ranges else (0, 0)
    for other in ranges[1:]:
        low, high = least(low, other[0]), largest(high, other[1])
    return low, high


def _after(step: Expr, low: Expr, done: Expr) -> Expr:
    """What follows what the strips before have done; a task's first one finds nothing done."""
    if isinstance(step, int):
        return max(low, done) if step else low
    return tirx.Select(step > 0, largest(low, done), low)
