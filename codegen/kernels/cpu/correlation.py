"""What a convolution and its data gradient have in common: 16 images per lane, weights broadcast.

A task is one row of results of one group in one image block, or a part of its maps. A tile holds
some maps x adjacent columns; it runs over source maps and taps, skipping whatever lies in the
padding: rows by the bounds of a loop, columns by tiles of their own at the borders. Source maps
are taken some at a time, so that what a tile needs of them stays in the nearest cache while all
tiles of maps pass, and their weights in the next one; sums lie in scratch meanwhile.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from tvm import tirx

from codegen.kernels.axis import Axis, Taps, axes, groups_of
from codegen.kernels.cpu.columns import Columns, columns_of, is_wide
from codegen.kernels.cpu.tile import Tile, best_shape, each, pieces
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

Depth = tuple[Expr, ...]
"""How the weights index a source map."""


@dataclass(frozen=True)
class Step:
    """One source map, met through row `r` of the window in row `y` of its image."""

    channel: Expr
    depth: Depth
    r: Expr
    y: Expr


@dataclass(frozen=True)
class At:
    """Where a tile lies: its image block, its group, its `rows` maps from `first` on in the group
    and from `kept` on in the task, the row of the image, its columns and the step where they
    begin."""

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
    """A result [N, groups * rows, H, W] summed over taps and source maps.

    The source maps of a group are `depth` units of `unit` maps, which no cut divides.
    """

    source: Node
    weights: Node
    axis: type[Axis]
    depth: int
    unit: int

    def __init__(self, region: Graph, target: Cpu, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self.epilogue = node, Epilogue(self.w, node)
        self.groups = groups_of(node)
        self.operands()
        self.rows = node.type.shape[1] // self.groups
        images, window = (x.type.shape[2:] for x in (self.source, self.weights))
        self.down, self.across = axes(self.axis, node, node.type.shape[2:], images, window)
        columns = max(phase.count for phase in self.across.phases())
        self.tile = target.tuning.shape or best_shape(target.accumulators, self.rows, columns)
        self.columns = list(columns_of(self.across, self.tile[1]))
        self.some = self._some(target.tuning.near)

    def operands(self) -> None:
        """Tell source and weights apart, and how deep they are."""
        raise NotImplementedError

    def scalars(self, at: At, depth: Depth, r: Expr, s: Expr) -> list[Expr]:
        """The weights that link each row of a tile with a source map through a tap."""
        raise NotImplementedError

    def reduction(self, group: Expr, taps: Taps, units: Range) -> AbstractContextManager[Step]:
        """Loops over some source maps and rows of taps."""
        raise NotImplementedError

    # ------------------------------------------------------------------------ loops

    def build(self) -> Built:
        """Write it all."""
        w, (height, width), parts = self.w, self.node.type.shape[2:], self._parts()
        maps = self.rows // parts
        with w.tasks(blocks(self.node.type) * self.groups * height * parts) as task:
            part, y = w.let(task % parts * maps), w.let(task // parts % height)
            group = w.let(task // (parts * height) % self.groups)
            block = w.let(task // (parts * height * self.groups))
            sums, taps = w.scratch(maps, width, LANES), self.down.taps(y)
            with w.serial(-(-self.depth // self.some)) as turn:
                begin = w.let(turn * self.some)
                units = begin, w.let(tirx.min(self.depth, begin + self.some))
                for columns in self.columns:
                    for run in pieces(maps, self.tile[0]):
                        with columns.run.each(w) as q, run.each(w) as m:
                            at = At(block, group, w.let(part + m), m, run.size, y, columns, q)
                            self._add(sums, at, taps, units)
        return w.built(noalias=True)

    def _parts(self) -> int:
        """Into how many parts to cut the maps, for there to be enough tasks."""
        tasks = blocks(self.node.type) * self.groups * self.node.type.shape[2]
        most = self.rows // self.tile[0]
        fits = [n for n in range(1, most + 1) if self.rows % (n * self.tile[0]) == 0]
        return next((n for n in fits if n * tasks >= TASKS), max(fits, default=1))

    def _some(self, near: int) -> int:
        """Units at a time, of which a tile's pixels stay in so many bytes; near-equal parts."""
        rows = max(len(phase.taps) for phase in self.down.phases())
        pixels = rows * max(columns.pixels for columns in self.columns)
        size = 4 * LANES * self.unit * max(1, pixels)
        return pieces(self.depth, max(1, near // size))[0].size

    # ------------------------------------------------------------------------ tiles

    def _add(self, sums: Scratch, at: At, taps: Taps, units: Range) -> None:
        """Add what some source maps give; finish the tile with the last of them."""
        w, tile = self.w, Tile(self.w, at.rows, at.columns.run.size)
        if self.some < self.depth:
            with w.when(units[0] > 0):
                tile.resume(sums, lambda m, n: (at.kept + m, at.x(n)))
        if any(map(any, at.columns.met)):
            with self.reduction(at.group, taps, units) as step:
                (self._loop_taps if is_wide(self.across) else self._add_taps)(tile, at, step)
        tile.keep(sums, lambda m, n: (at.kept + m, at.x(n)))
        with w.when(units[1] == self.depth), each(w, (at.rows, at.columns.run.size)) as (m, n):
            place = (at.block, at.group * self.rows + at.first + m, at.y, at.x(n))
            self.epilogue.write(place, lambda lane: sums[at.kept + m, at.x(n), lane])

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
        tile.add(self.scalars(at, step.depth, step.r, s), vectors)

    def _loop_taps(self, tile: Tile, at: At, step: Step) -> None:
        """One row of taps for a tile of one column."""
        taps = self.across.taps(at.x(0))
        with self.w.serial(taps.end - taps.begin, taps.begin) as t:
            vector = self._load(at, step, taps.source(t))
            tile.add(self.scalars(at, step.depth, step.r, taps.tap(t)), [vector])

    def _load(self, at: At, step: Step, x: Expr) -> Lane:
        buffer = self.w.buffers[self.source]
        return lambda lane: buffer[at.block, step.channel, step.y, x, lane]
