"""What a convolution and its data gradient have in common: 16 images per lane, weights broadcast.

A task is one row of results of one group in one image block, or a part of its maps. A tile holds
some maps x adjacent columns; it runs over source maps and taps, skipping whatever lies in the
padding: rows by the bounds of a loop, columns by tiles of their own at the borders. Source maps
are taken some at a time, so that what a tile needs of them stays in the nearest cache while all
tiles of maps pass; sums lie in scratch meanwhile, and weights pass in the order in which they lie.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tvm import tirx

from codegen.kernels.axis import Axis, Taps, axes, groups_of
from codegen.kernels.cpu.columns import Columns, columns_of, is_wide, shape_along
from codegen.kernels.cpu.packed import Packed
from codegen.kernels.cpu.tile import Tile, each, pieces
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.epilogue import Epilogue
from codegen.kernels.memory import Scratch
from codegen.kernels.ranges import Range
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph, Node

TASKS = 64
"""As many tasks as keep every thread of a large machine busy."""


@dataclass(frozen=True)
class Step:
    """One source map, number `depth` of its group, met through row `r` of the packed weights in row
    `y` of its image."""

    channel: Expr
    depth: Expr
    r: Expr
    y: Expr


@dataclass(frozen=True)
class At:
    """Where a tile lies: its image block, its group, its `rows` maps from `first` on in the group,
    `kept` on in the task, the row of the image, its columns and the step where they begin."""

    block: Expr
    group: Expr
    first: Expr
    kept: Expr
    rows: int
    y: Expr
    columns: Columns
    q: Expr

    def x(self, n: int | Expr) -> Expr:
        """A column's place in the image."""
        return self.columns.phase.first + self.columns.phase.step * (self.q + n)


class Correlation:
    """A result [N, groups * rows, H, W] summed over taps and the `depth` source maps of a group."""

    source: Node
    weights: Node
    axis: type[Axis]
    depth: int

    def __init__(self, region: Graph, target: Cpu, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self.epilogue = node, Epilogue(self.w, node)
        self.groups = groups_of(node)
        self.operands()
        self.rows = node.type.shape[1] // self.groups
        images, window = (x.type.shape[2:] for x in (self.source, self.weights))
        self.down, self.across = axes(self.axis, node, node.type.shape[2:], images, window)
        best = shape_along(self.across, target.accumulators, self.rows)
        self.tile = target.tuning.shape or best
        self.columns = list(columns_of(self.across, self.tile[1]))
        self.some = self._some(target.tuning.near)
        self.parts = self._parts(target.tuning.cached // 2)
        self.maps = self.rows // self.parts
        self.packed = Packed(self.w, self.groups * self.rows, self.depth, window)

    def operands(self) -> None:
        """Tell source and weights apart, and how deep they are."""
        raise NotImplementedError

    def weight(self, row: Expr, depth: Expr, r: Expr, s: Expr) -> Expr:
        """The weight between a map of the result and a source map of its group."""
        raise NotImplementedError

    def descent(self, taps: Taps) -> tuple[Expr, int, Expr]:
        """The uppermost row of the image that some taps meet: their place among the packed weights,
        how much farther that of the row below is, and the row."""
        raise NotImplementedError

    # ------------------------------------------------------------------------ loops

    def build(self) -> Built:
        """Write it all."""
        w, (height, width), parts = self.w, self.node.type.shape[2:], self.parts
        runs = pieces(self.maps, self.tile[0])
        for run in runs:
            self.packed.fill(self.groups * parts, self.maps, run, self.weight)
        with w.tasks(blocks(self.node.type) * self.groups * height * parts) as task:
            part, y = w.let(task % parts * self.maps), w.let(task // parts % height)
            group = w.let(task // (parts * height) % self.groups)
            block = w.let(task // (parts * height * self.groups))
            sums, taps = w.scratch(self.maps, width, LANES), self.down.taps(y)
            with w.serial(-(-self.depth // self.some)) as turn:
                begin = w.let(turn * self.some)
                units = begin, w.let(tirx.min(self.depth, begin + self.some))
                for columns in self.columns:
                    for run in runs:
                        with columns.run.each(w) as q, run.each(w) as m:
                            at = At(block, group, w.let(part + m), m, run.size, y, columns, q)
                            self._add(sums, at, taps, units)
        return w.built(noalias=True)

    def _parts(self, cached: int) -> int:
        """Into how many parts to cut the maps, for there to be enough tasks, and for their sums to
        stay in so many bytes."""
        _, _, height, width = self.node.type.shape
        tasks = blocks(self.node.type) * self.groups * height
        kept = 4 * LANES * width * self.rows if self.some < self.depth else 0
        fits = [n for n in range(1, self.rows // self.tile[0] + 1) if self.rows % n == 0]
        enough = (n for n in fits if n * tasks >= TASKS and kept <= n * cached)
        return next(enough, max(fits, default=1))

    def _some(self, near: int) -> int:
        """Source maps at a time: a tile's pixels of them stay in so many bytes."""
        rows = max(len(phase.taps) for phase in self.down.phases())
        pixels = rows * max(columns.pixels for columns in self.columns)
        most = near // (4 * LANES * max(1, pixels))
        return pieces(self.depth, max(1, most))[0].size

    # ------------------------------------------------------------------------ tiles

    def _add(self, sums: Scratch, at: At, taps: Taps, units: Range) -> None:
        """Add what some source maps give; finish the tile with the last of them."""
        w, tile = self.w, Tile(self.w, at.rows, at.columns.run.size)
        if self.some < self.depth:
            with w.when(units[0] > 0):
                tile.resume(sums, lambda m, n: (at.kept + m, at.x(n)))
        if any(map(any, at.columns.met)):
            with self._reduction(at.group, taps, units) as step:
                (self._loop_taps if is_wide(self.across) else self._add_taps)(tile, at, step)
        tile.keep(sums, lambda m, n: (at.kept + m, at.x(n)))
        with w.when(units[1] == self.depth), each(w, (at.rows, at.columns.run.size)) as (m, n):
            place = (at.block, at.group * self.rows + at.first + m, at.y, at.x(n))
            self.epilogue.write(place, lambda lane: sums[at.kept + m, at.x(n), lane])

    @contextmanager
    def _reduction(self, group: Expr, taps: Taps, units: Range) -> Iterator[Step]:
        """Loops over some source maps and all rows of taps."""
        w, (begin, end), (first, stride, top) = self.w, units, self.descent(taps)
        r, y = w.let(first), w.let(top)
        with w.serial(end - begin, begin) as d, w.serial(taps.end - taps.begin) as i:
            yield Step(group * self.depth + d, d, r + stride * i, y + i)

    def _add_taps(self, tile: Tile, at: At, step: Step) -> None:
        """One row of taps; those that no column of the tile meets are left out."""
        phase, met = at.columns.phase, at.columns.met
        if phase.pull > 1 and all(map(all, met)):
            # Neighbours share no vectors, so nothing is won by writing taps out.
            (tap, base), *_ = phase.taps
            with self.w.serial(len(phase.taps)) as t:
                self._add_tap(tile, at, step, (tap + t, base + t), met[0])
            return
        for place, meets in zip(phase.taps, met, strict=True):
            if any(meets):
                self._add_tap(tile, at, step, place, meets)

    def _add_tap(
        self, tile: Tile, at: At, step: Step, place: tuple[Expr, Expr], met: tuple[bool, ...]
    ) -> None:
        """One tap, given with the pixel that step 0 of the phase meets through it."""
        (s, base), pull = place, at.columns.phase.pull
        vectors = [
            self._load(at, step, base + pull * (at.q + n)) if meets else None
            for n, meets in enumerate(met)
        ]
        tile.add(self._scalars(at, step, s), vectors)

    def _loop_taps(self, tile: Tile, at: At, step: Step) -> None:
        """One row of taps for a tile of one column."""
        taps = self.across.taps(at.x(0))
        with self.w.serial(taps.end - taps.begin, taps.begin) as t:
            vector = self._load(at, step, taps.source(t))
            tile.add(self._scalars(at, step, taps.tap(t)), [vector])

    def _scalars(self, at: At, step: Step, s: Expr) -> list[Expr]:
        return self.packed.scalars(at.group * self.rows + at.first, at.rows, step.depth, step.r, s)

    def _load(self, at: At, step: Step, x: Expr) -> Lane:
        buffer = self.w.buffers[self.source]
        return lambda lane: buffer[at.block, step.channel, step.y, x, lane]
