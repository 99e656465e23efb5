"""The general kernel: any region without a contraction, one nest after another.

A task is one block of 16 images, or a part of it (`bands.py`). Where a value is read across blocks,
one task does everything.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import tirx

from codegen.kernels.cpu import copy, loss, norm, reduce, spatial_norm, window, window_dx
from codegen.kernels.cpu.bands import Bands
from codegen.kernels.cpu.maxima import with_maxima
from codegen.kernels.cpu.stage import Maker, Stage, nested
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.grouping import Group, Grouping
from codegen.kernels.memory import Home, Index
from codegen.kernels.pointwise import RULES
from codegen.kernels.ranges import Range, difference
from codegen.kernels.writer import TIR_DTYPE, Lane, Position
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph, Node
from ir.type import DType

MAKERS: dict[str, Maker] = {
    **window.MAKERS,
    **window_dx.MAKERS,
    **norm.MAKERS,
    **spatial_norm.MAKERS,
    **reduce.MAKERS,
    **loss.MAKERS,
    **copy.MAKERS,
}


def staged(region: Graph, target: Cpu) -> Built | str:
    """The kernel of a region, or why there is none."""
    for node in region.nodes:
        if node.type.dtype is DType.BF16:
            return "bf16 is not computed on CPUs"
        if node.inputs and node.op not in RULES and node.op not in MAKERS:
            return f"{node.op} is no op of this family"
    whole = with_maxima(region)
    kernel = _Kernel(Writer(whole, target), Grouping(whole))
    kernel.write()
    return kernel.writer.built()


@dataclass(frozen=True)
class _Place:
    """What a step computes of one group: a block, the first of its maps, some rows."""

    block: Expr
    first_map: Expr
    rows: Range


class _Kernel:
    """One region being written."""

    def __init__(self, writer: Writer, grouping: Grouping) -> None:
        self.writer, self._grouping = writer, grouping
        self._read_later = grouping.read_later()
        self._outputs = set(writer.region.outputs)
        self._bands = Bands(writer, grouping)
        self._longest = self._bands.longest()

    def write(self) -> None:
        """Every group, in every strip of every task."""
        w, bands = self.writer, self._bands
        count = blocks(self._grouping.inside[0].type) if self._grouping.by_blocks else 1
        whole = count * bands.chunks
        parts = w.cuts(whole, bands.least, bands.strips) if bands.strips > 1 else 1
        with w.tasks(whole * parts) as task:
            rest = task if bands.strips == 1 else w.opaque(task // parts)
            block, chunk = _digits(w, rest if whole > 1 else 0, bands.chunks)
            first_map = chunk * bands.maps
            homes = [self._homes(group, n, first_map) for n, group in enumerate(bands.groups)]
            if bands.strips == 1:
                self._write_strip(block, first_map, bands.ranges(0, 0), homes)
                return
            begin, end = w.part(bands.strips, task % parts, parts)
            with w.serial(end - begin) as step:
                ranges = bands.ranges(w.let(begin + step), step)
                self._write_strip(block, first_map, ranges, homes)

    def _write_strip(
        self, block: Expr, first_map: Expr, ranges: list[Range], homes: list[dict[Node, Home]]
    ) -> None:
        w, by_blocks = self.writer, self._grouping.by_blocks
        bound = [(_bound(w, low), _bound(w, high)) for low, high in ranges]
        for number, group in enumerate(self._bands.groups):
            if by_blocks:
                place = _Place(block, first_map, bound[number])
                self._write_group(group, number, place, homes[number])
            else:
                with w.serial(-(-group.shape[0] // LANES) if group.shape else 1) as each:
                    place = _Place(each, first_map, bound[number])
                    self._write_group(group, number, place, homes[number])
            kept = homes[number].items()
            w.homes |= {node: home for node, home in kept if node in self._grouping.kept}

    # ------------------------------------------------------------------------ where values live

    def _homes(self, group: Group, number: int, first_map: Expr) -> dict[Node, Home]:
        w = self.writer
        homes = {node: Home(w, w.buffers[node]) for node in group.commits}
        for node in group.kept:
            if node in self._outputs and node not in w.updates:
                homes[node] = Home(w, w.buffers[node])
            elif node in self._read_later:
                homes[node] = self._in_scratch(node, self._longest[number], first_map)
        return homes

    def _in_scratch(self, node: Node, longest: int, first_map: Expr) -> Home:
        """Of a block cut in rows, the last rows only: each takes the place of an old one."""
        w, shape = self.writer, node.type.shape
        if not shape:
            return Home(w, w.scratch(1))
        if not self._grouping.by_blocks:
            return Home(w, w.scratch(blocks(node.type), *shape[1:], LANES))
        if self._bands.axis != 2:
            return Home(w, w.scratch(*shape[1:], LANES), lambda index: index[1:])

        def within(index: Index) -> Index:
            _, c, i, *rest = index
            slot = i if longest == shape[2] else tirx.truncmod(i, longest)
            return difference(c, first_map), slot, *rest

        return Home(w, w.scratch(self._bands.maps, longest, *shape[3:], LANES), within)

    # ------------------------------------------------------------------------ one group

    def _write_group(
        self, group: Group, number: int, place: _Place, homes: dict[Node, Home]
    ) -> None:
        def sink(at: tuple[Expr, ...], value: Lane) -> None:
            assert group.maker is not None
            held = {group.maker: self.writer.held(value, TIR_DTYPE[group.maker.type.dtype])}
            self._put(group, Position(self.writer, RULES, at, held), homes)

        if group.maker is None:
            self._nest(group, place, homes)
            return
        maps = self._bands.maps if self._bands.axis == 2 else prod(group.shape[1:2])
        stage = Stage(
            *(self.writer, group.maker, place.block, place.first_map, maps),
            *(place.rows, self._longest[number], sink, homes.values()),
        )
        MAKERS[group.maker.op](stage)

    def _nest(self, group: Group, place: _Place, homes: dict[Node, Home]) -> None:
        extents: list[Any] = list(group.shape[1:])
        begin: list[Any] = [0] * len(extents)
        if axis := self._bands.axis:
            low, high = place.rows
            extents[axis - 1], begin[axis - 1] = difference(high, low), low
        if axis == 2:
            extents[0], begin[0] = self._bands.maps, place.first_map
        with nested(self.writer, extents) as index:
            inner = [
                b + i if not isinstance(b, int) or b else i
                for i, b in zip(index, begin, strict=True)
            ]
            at = (place.block, *inner) if group.shape else ()
            self._put(group, Position(self.writer, RULES, at), homes)

    def _put(self, group: Group, position: Position, homes: dict[Node, Home]) -> None:
        """Compute everything before storing anything: memory may be shared."""
        nodes = list(dict.fromkeys((*group.kept, *group.commits)))
        values = {node: position.vector(node) for node in nodes}
        for node, home in homes.items():
            position.store(node, home, values[node])


def _digits(w: Writer, number: Expr, base: int) -> tuple[Expr, Expr]:
    """number // base and number % base."""
    if base == 1 or isinstance(number, int):
        return number // base if isinstance(number, int) else number, 0
    return w.let(tirx.truncdiv(number, base)), w.let(tirx.truncmod(number, base))


def _bound(w: Writer, value: Expr) -> Expr:
    return value if isinstance(value, int) else w.let(value)
