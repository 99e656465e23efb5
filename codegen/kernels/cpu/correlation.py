"""What a convolution and its data gradient have in common: 16 images per lane, weights broadcast.

A task is one row of results of one group in one image block, or a part of its maps. A tile holds
some maps x adjacent columns; it runs over source maps and taps, skipping whatever lies in the
padding: rows by the bounds of a loop, columns by tiles of their own at the borders.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from codegen.kernels.axis import Axis, Phase, Taps, axes, groups_of
from codegen.kernels.cpu.tile import Run, Tile, best_shape, each, pieces
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.epilogue import Epilogue
from codegen.kernels.memory import Scratch
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph, Node

TASKS = 64
"""As many tasks as keep every thread of a large machine busy."""
UNROLLED = 16
"""Windows wider than this get a loop over their columns."""


Met = tuple[tuple[bool, ...], ...]
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
class Columns:
    """Tiles along a row, at steps q of a phase.

    `met` tells for each tap of the phase which columns of a tile meet a pixel through it.
    """

    phase: Phase
    run: Run
    met: Met


@dataclass(frozen=True)
class At:
    """Where a tile lies: its image block, its group, its `rows` maps from `first` on in the group,
    the row of the image, its columns and the step where they begin."""

    block: Expr
    group: Expr
    first: Expr
    rows: int
    y: Expr
    columns: Columns
    q: Expr

    def x(self, n: int | Expr) -> Expr:
        """A column's place in the image."""
        return self.columns.phase.first + self.columns.phase.step * (self.q + n)


class Correlation:
    """A result [N, groups * rows, H, W] summed over taps and source maps."""

    source: Node
    weights: Node
    axis: type[Axis]

    def __init__(self, region: Graph, target: Cpu, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self.epilogue = node, Epilogue(self.w, node)
        self.operands()
        self.groups = groups_of(node)
        self.rows = node.type.shape[1] // self.groups
        images, window = (x.type.shape[2:] for x in (self.source, self.weights))
        self.down, self.across = axes(self.axis, node, node.type.shape[2:], images, window)
        columns = max(phase.count for phase in self.across.phases())
        self.tile = target.tuning.shape or best_shape(target.accumulators, self.rows, columns)

    def operands(self) -> None:
        """Tell source and weights apart."""
        raise NotImplementedError

    def scalars(self, at: At, depth: Depth, r: Expr, s: Expr) -> list[Expr]:
        """The weights that link each row of a tile with a source map through a tap."""
        raise NotImplementedError

    def reduction(self, group: Expr, taps: Taps) -> AbstractContextManager[Step]:
        """Loops over source maps and rows of taps."""
        raise NotImplementedError

    # ------------------------------------------------------------------------ loops

    def build(self) -> Built:
        """Write it all."""
        w, height, parts = self.w, self.node.type.shape[2], self._parts()
        each_part = self.rows // parts
        with w.tasks(blocks(self.node.type) * self.groups * height * parts) as task:
            part, y = task % parts, w.let(task // parts % height)
            group = w.let(task // (parts * height) % self.groups)
            block = w.let(task // (parts * height * self.groups))
            sums, taps = w.scratch(*self.tile, LANES), self.down.taps(y)
            # Columns outermost: what they need of the source stays in cache for all maps.
            for columns in self._columns():
                for run in pieces(each_part, self.tile[0]):
                    with columns.run.each(w) as q, run.each(w) as begin:
                        first = w.let(part * each_part + begin)
                        at = At(block, group, first, run.size, y, columns, q)
                        self._sum(sums, at, taps)
                        self._finish(sums, at)
        return w.built(noalias=True)

    def _parts(self) -> int:
        """Into how many parts to cut the maps, for there to be enough tasks."""
        tasks = blocks(self.node.type) * self.groups * self.node.type.shape[2]
        most = self.rows // self.tile[0]
        fits = [n for n in range(1, most + 1) if self.rows % (n * self.tile[0]) == 0]
        return next((n for n in fits if n * tasks >= TASKS), max(fits, default=1))

    def _columns(self) -> Iterator[Columns]:
        """All tiles along a row; neighbours of one size that meet the same taps are in one run."""
        if self._wide:
            phase = Phase(0, 1, self.node.type.shape[3], 1, ())
            yield Columns(phase, Run(0, 1, phase.count), ((True,),))
            return
        for phase in self.across.phases():
            tiles = (
                (run.begin + i * run.size, run.size)
                for run in pieces(phase.count, self.tile[1])
                for i in range(run.count)
            )
            for (size, met), alike in groupby(tiles, partial(self._kind, phase)):
                begins = [begin for begin, _ in alike]
                yield Columns(phase, Run(begins[0], size, len(begins)), met)

    @property
    def _wide(self) -> bool:
        """Whether the window is too wide for its taps to be written out."""
        return self.across.window > UNROLLED * self.across.stride

    def _kind(self, phase: Phase, tile: tuple[int, int]) -> tuple[int, Met]:
        """What tiles have in common that can be in one run."""
        return tile[1], self._met(phase, *tile)

    def _met(self, phase: Phase, begin: int, size: int) -> Met:
        return tuple(
            tuple(
                0 <= base + phase.pull * q < self.across.sources for q in range(begin, begin + size)
            )
            for _, base in phase.taps
        )

    # ------------------------------------------------------------------------ tiles

    def _sum(self, sums: Scratch, at: At, taps: Taps) -> None:
        tile = Tile(self.w, at.rows, at.columns.run.size)
        if any(map(any, at.columns.met)):
            with self.reduction(at.group, taps) as step:
                (self._loop_taps if self._wide else self._add_taps)(tile, at, step)
        tile.keep(sums, lambda m, n: (m, n))

    def _add_taps(self, tile: Tile, at: At, step: Step) -> None:
        """One row of taps; those that no column of the tile meets are left out."""
        phase = at.columns.phase
        for (s, base), met in zip(phase.taps, at.columns.met, strict=True):
            if any(met):
                vectors = [
                    self._load(at, step, base + phase.pull * (at.q + n)) if meets else None
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

    def _finish(self, sums: Scratch, at: At) -> None:
        with each(self.w, (at.rows, at.columns.run.size)) as (m, n):
            place = (at.block, at.group * self.rows + at.first + m, at.y, at.x(n))
            self.epilogue.write(place, lambda lane: sums[m, n, lane])
