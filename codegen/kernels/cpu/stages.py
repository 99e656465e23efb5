"""The general kernel: any region without a contraction, one nest after another.

A task is one block of 16 images, or a part of it: some rows of axis 2 (rows that two tasks need are
computed by both) or some indices along axis 1. Where a value is read across blocks, one task does
everything.
"""

from math import prod
from typing import Any

from tvm import tirx

from codegen.kernels.cpu import copy, loss, norm, reduce, spatial_norm, window
from codegen.kernels.cpu.stage import Maker, Stage, nested
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.grouping import Access, Group, Grouping, access_of
from codegen.kernels.memory import Home
from codegen.kernels.pointwise import RULES
from codegen.kernels.ranges import Range, difference, largest, least
from codegen.kernels.writer import TIR_DTYPE, Lane, Position
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph, Node
from ir.type import DType

MAKERS: dict[str, Maker] = {
    **window.MAKERS,
    **norm.MAKERS,
    **spatial_norm.MAKERS,
    **reduce.MAKERS,
    **loss.MAKERS,
    **copy.MAKERS,
}
_ROWS = {op: family.rows_of for family in (window, norm, spatial_norm) for op in family.MAKERS}
_BAND = 2**17  # floats of one value that a band should hold: it stays in the L2 until it is read


def staged(region: Graph, target: Cpu) -> Built | str:
    """The kernel of a region, or why there is none."""
    for node in region.nodes:
        if node.type.dtype is DType.BF16:
            return "bf16 is not computed on CPUs"
        if node.inputs and node.op not in RULES and node.op not in MAKERS:
            return f"{node.op} is no op of this family"
    kernel = _Kernel(Writer(region, target), Grouping(region))
    kernel.write()
    return kernel.writer.built()


class _Kernel:
    """One region being written."""

    def __init__(self, writer: Writer, grouping: Grouping) -> None:
        self.writer, self._grouping = writer, grouping
        self._groups = grouping.groups
        self._by_blocks = grouping.by_blocks
        self._read_later = grouping.read_later()
        self._outputs = set(writer.region.outputs)
        self._axis = self._cut_axis()
        self._parts = self._count_parts()

    # ------------------------------------------------------------------------ parts of a block

    def _cut_axis(self) -> int:
        """The axis that a block's work is cut along; 0 for none."""
        nodes, updates = self._grouping.inside, self.writer.updates
        if not self._by_blocks:
            return 0
        if len(self._groups) == 1 and self._groups[0].maker is None:
            return 1 if len(self._groups[0].shape) > 1 else 0
        rows = all(n.type.rank == 4 and (n.op in _ROWS or _same_rows(n)) for n in nodes)
        return 2 if rows and not updates else 0

    def _count_parts(self) -> int:
        if not self._axis:
            return 1
        widest = max((group.shape for group in self._groups), key=prod)
        along = widest[self._axis]
        elements = prod(widest[1:]) * LANES
        return max(1, min(along, -(-elements // _BAND)))

    def _share(self, group: Group, part: Expr) -> Range:
        """The part of a group's axis that a task must write, whatever else it needs."""
        extent = group.shape[self._axis]
        if isinstance(part, int):
            return part * extent // self._parts, (part + 1) * extent // self._parts
        scaled = [tirx.truncdiv(p * extent, self._parts) for p in (part, part + 1)]
        return scaled[0], scaled[1]

    def _ranges(self, part: Expr) -> list[Range]:
        """Of each group, the range along the axis: its own share, and what later groups read."""
        needs: dict[Node, list[Range]] = {}
        ranges: list[Range] = []
        for group in reversed(self._groups):
            wanted = [self._share(group, part)] if self._is_result(group) else []
            for node in group.kept:
                wanted += needs.get(node, [])
            low, high = wanted[0] if wanted else (0, 0)
            for other in wanted[1:]:
                low, high = least(low, other[0]), largest(high, other[1])
            ranges.append((low, high))
            for node in group.kept:
                for x, needed in self._needed(node, (low, high)):
                    needs.setdefault(x, []).append(needed)
        return ranges[::-1]

    def _needed(self, node: Node, rows: Range) -> list[tuple[Node, Range]]:
        found = []
        for place, x in enumerate(node.inputs):
            rule = _ROWS.get(node.op)
            needed = rule(node, place, rows) if rule else rows
            if x in self._grouping.kept:
                found.append((x, needed))
            elif x.inputs:
                found += self._needed(x, needed)
        return found

    def _is_result(self, group: Group) -> bool:
        return bool(group.commits) or any(node in self._outputs for node in group.kept)

    def _whole(self, group: Group) -> Range:
        return 0, group.shape[2] if len(group.shape) > 2 else 1

    # ------------------------------------------------------------------------ writing

    def write(self) -> None:
        """Every group, in every task."""
        w = self.writer
        count = blocks(self._grouping.inside[0].type) if self._by_blocks else 1
        with w.tasks(count * self._parts) as task:
            if self._parts == 1:
                self._write_groups(task if self._by_blocks else 0, 0)
            else:
                part = w.let(tirx.truncmod(task, self._parts))
                self._write_groups(w.let(tirx.truncdiv(task, self._parts)), part)

    def _write_groups(self, block: Expr, part: Expr) -> None:
        w = self.writer
        if self._parts == 1:
            ranges = [self._whole(group) for group in self._groups]
            most = [high for _, high in ranges]
        else:
            ranges = [(w.let(low), w.let(high)) for low, high in self._ranges(part)]
            most = self._longest()
        for group, rows, longest in zip(self._groups, ranges, most, strict=True):
            homes = self._homes(group, rows, longest)
            if self._by_blocks:
                self._write_group(group, block, rows, longest, homes)
            else:
                with w.serial(-(-group.shape[0] // LANES) if group.shape else 1) as each:
                    self._write_group(group, each, rows, longest, homes)
            w.homes |= {node: home for node, home in homes.items() if node in self._grouping.kept}

    def _longest(self) -> list[int]:
        """Of each group, the longest range over all parts."""
        lengths = [
            [max(0, high - low) for low, high in self._ranges(part)] for part in range(self._parts)
        ]
        return [max(of_group) for of_group in zip(*lengths, strict=True)]

    def _homes(self, group: Group, rows: Range, longest: int) -> dict[Node, Home]:
        w = self.writer
        homes = {node: Home(w, w.buffers[node]) for node in group.commits}
        for node in group.kept:
            if node in self._outputs and node not in w.updates:
                homes[node] = Home(w, w.buffers[node])
            elif node in self._read_later:
                homes[node] = self._in_scratch(node, rows, longest)
        return homes

    def _in_scratch(self, node: Node, rows: Range, longest: int) -> Home:
        w, shape = self.writer, node.type.shape
        if not shape:
            return Home(w, w.scratch(1))
        inner = list(shape[1:])
        if self._axis == 2:
            inner[1] = longest
        if self._by_blocks:
            return Home(w, w.scratch(*inner, LANES), one_block=True, first=rows[0])
        return Home(w, w.scratch(blocks(node.type), *inner, LANES))

    def _write_group(
        self, group: Group, block: Expr, rows: Range, longest: int, homes: dict[Node, Home]
    ) -> None:
        def sink(at: tuple[Expr, ...], value: Lane) -> None:
            assert group.maker is not None
            held = {group.maker: self.writer.held(value, TIR_DTYPE[group.maker.type.dtype])}
            self._put(group, Position(self.writer, RULES, at, held), homes)

        if group.maker is None:
            self._nest(group, block, rows, homes)
        else:
            stage = Stage(self.writer, group.maker, block, rows, longest, sink)
            MAKERS[group.maker.op](stage)

    def _nest(self, group: Group, block: Expr, rows: Range, homes: dict[Node, Home]) -> None:
        extents: list[Any] = list(group.shape[1:])
        begin: list[Any] = [None] * len(extents)
        if self._axis and self._parts > 1:
            extents[self._axis - 1] = difference(rows[1], rows[0])
            begin[self._axis - 1] = rows[0]
        with nested(self.writer, extents) as index:
            inner = [i if b is None else i + b for i, b in zip(index, begin, strict=True)]
            at = (block, *inner) if group.shape else ()
            self._put(group, Position(self.writer, RULES, at), homes)

    def _put(self, group: Group, position: Position, homes: dict[Node, Home]) -> None:
        """Compute everything before storing anything: memory may be shared."""
        nodes = list(dict.fromkeys((*group.kept, *group.commits)))
        values = {node: position.vector(node) for node in nodes}
        for node, home in homes.items():
            position.store(node, home, values[node])


def _same_rows(node: Node) -> bool:
    """Whether a pointwise op reads its operands of rank 4 in the same rows."""
    return node.op in RULES and all(
        access_of(node, place) is Access.SAME or (x.type.rank < 4 and not x.inputs)
        for place, x in enumerate(node.inputs)
    )
