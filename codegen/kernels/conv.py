"""Convolution and its data gradient: 16 images per lane, weights broadcast.

A task is one row of results of one group in one image block, or a part of its maps. A tile holds
some maps x adjacent columns; it runs over source maps and taps, skipping whatever lies in the
padding: rows by the bounds of a loop, columns by tiles of their own at the borders.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import groupby
from tvm import tirx

from codegen.kernels.axis import Adjoint, Axis, Forward, Phase, Taps
from codegen.kernels.epilogue import Epilogue, anchor
from codegen.kernels.tile import Run, Tile, best_shape, pieces
from codegen.kernels.writer import Built, Lane, Scratch, Writer
from codegen.layout import LANES, blocks
from codegen.loops import Expr
from codegen.targets import Target
from ir.graph import Graph, Node

TASKS = 64
"""As many tasks as keep every thread of a large machine busy."""
UNROLLED = 16
"""Windows wider than this get a loop over their columns."""


def conv(region: Graph, target: Target) -> Built | str:
    """The kernel of a convolution and what follows it."""
    node = anchor(region, "conv")
    return node if isinstance(node, str) else _Conv(region, target, node).build()


def conv_dx(region: Graph, target: Target) -> Built | str:
    """The kernel of a convolution's data gradient and what follows it."""
    node = anchor(region, "conv_dx")
    return node if isinstance(node, str) else _ConvDx(region, target, node).build()


@dataclass(frozen=True)
class _Columns:
    """Tiles along a row; `met` tells for each column of a tile which taps meet a pixel."""

    run: Run
    met: tuple[tuple[bool, ...], ...]


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
    """Where a tile lies: its image block, its group, and its first row within the group."""

    block: Expr
    group: Expr
    first: Expr


class _Correlation:
    """A result [N, groups * rows, H, W] summed over taps and `depth` source maps per group."""

    source: Node
    weights: Node
    rows: int
    axis: type[Axis]

    def __init__(self, region: Graph, target: Target, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self.epilogue = node, Epilogue(self.w, node)
        self.operands()
        self.groups = node.attrs["groups"]
        self.rows = node.type.shape[1] // self.groups
        self.down, self.across = (self._axis(i) for i in range(2))
        columns = max(phase.count for phase in self.across.phases())
        self.tile = best_shape(target.accumulators, self.rows, columns)

    def operands(self) -> None:
        """Tell source and weights apart."""
        raise NotImplementedError

    def scalars(self, at: At, size: int, depth: Depth, r: Expr, s: Expr) -> list[Expr]:
        """The weights that link each row of a tile with a source map through a tap."""
        raise NotImplementedError

    def reduction(self, group: Expr, taps: Taps) -> AbstractContextManager[Step]:
        """Loops over source maps and rows of taps."""
        raise NotImplementedError

    def _axis(self, i: int) -> Axis:
        attrs = self.node.attrs
        return self.axis(
            self.node.type.shape[2 + i],
            self.source.type.shape[2 + i],
            self.weights.type.shape[2 + i],
            attrs["stride"][i],
            attrs["pad"][2 * i],
        )

    # ------------------------------------------------------------------------ loops

    def build(self) -> Built:
        """Write it all."""
        w, height, width = self.w, *self.node.type.shape[2:]
        parts = self._parts()
        with w.tasks(blocks(self.node.type) * self.groups * height * parts) as task:
            part, y = task % parts, w.let(task // parts % height)
            group = w.let(task // (parts * height) % self.groups)
            block = w.let(task // (parts * height * self.groups))
            taps, each = self.down.taps(y), self.rows // parts
            row = w.scratch(min(self.tile[0], each), width, LANES)
            for run in pieces(each, self.tile[0]):
                with run.each(w) as begin:
                    first = w.let(part * each + begin)
                    self._sum_row(row, run.size, At(block, group, first), taps)
                    self._finish_row(row, run.size, block, group * self.rows + first, y)
        return w.built(noalias=True)

    def _parts(self) -> int:
        """Into how many parts to cut the maps, for there to be enough tasks."""
        tasks = blocks(self.node.type) * self.groups * self.node.type.shape[2]
        most = self.rows // self.tile[0]
        fits = [n for n in range(1, most + 1) if self.rows % (n * self.tile[0]) == 0]
        return next((n for n in fits if n * tasks >= TASKS), max(fits, default=1))

    def _finish_row(self, row: Scratch, size: int, block: Expr, first: Expr, y: Expr) -> None:
        w = self.w
        with w.serial(size) as m, w.serial(self.node.type.shape[3]) as x:
            self.epilogue.write((block, first + m, y, x), lambda lane: row[m, x, lane])

    def _sum_row(self, row: Scratch, size: int, at: At, taps: Taps) -> None:
        if self.across.window > UNROLLED * self.across.stride:
            self._sum_columns(row, size, at, taps)
            return
        for phase in self.across.phases():
            for columns in self._columns(phase):
                with columns.run.each(self.w) as q:
                    tile = Tile(self.w, size, columns.run.size)
                    if any(map(any, columns.met)):
                        with self.reduction(at.group, taps) as step:
                            self._add_taps(tile, size, at, step, phase, columns, q)
                    tile.keep(row, lambda m, n: (m, phase.first + phase.step * (q + n)))

    def _add_taps(self, tile: Tile, size: int, at: At, step: Step, phase: Phase, columns: _Columns, q: Expr) -> None:
        """One row of taps, those that no column of the tile meets left out."""
        for (s, base), met in zip(phase.taps, zip(*columns.met, strict=True), strict=True):
            vectors = [
                self._load(at, step, base + phase.pull * (q + n)) if meets else None
                for n, meets in enumerate(met)
            ]
            if any(met):
                tile.add(self.scalars(at, size, step.depth, step.r, s), vectors)

    def _sum_columns(self, row: Scratch, size: int, at: At, taps: Taps) -> None:
        """Column by column, for a window too wide to be unrolled."""
        w = self.w
        with w.serial(self.node.type.shape[3]) as x:
            tile, across = Tile(w, size, 1), self.across.taps(x)
            with self.reduction(at.group, taps) as step:
                with w.serial(across.end - across.begin, across.begin) as t:
                    vector = self._load(at, step, across.source(t))
                    tile.add(self.scalars(at, size, step.depth, step.r, across.tap(t)), [vector])
            tile.keep(row, lambda m, n: (m, x))

    def _columns(self, phase: Phase) -> Iterator[_Columns]:
        """Tiles along a row; neighbours of one size that meet the same taps share a loop."""
        tiles = [
            (run.begin + i * run.size, run.size)
            for run in pieces(phase.count, self.tile[1])
            for i in range(run.count)
        ]
        kinds = groupby(tiles, lambda tile: (tile[1], self._met(phase, *tile)))
        for (size, met), alike in kinds:
            begins = [begin for begin, _ in alike]
            yield _Columns(Run(begins[0], size, len(begins)), met)

    def _met(self, phase: Phase, begin: int, size: int) -> tuple[tuple[bool, ...], ...]:
        return tuple(
            tuple(0 <= base + phase.pull * q < self.across.sources for _, base in phase.taps)
            for q in range(begin, begin + size)
        )

    def _load(self, at: At, step: Step, x: Expr) -> Lane:
        buffer = self.w.buffers[self.source]
        return lambda lane: buffer[at.block, step.channel, step.y, x, lane]


class _Conv(_Correlation):
    axis = Forward

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs

    def scalars(self, at: At, size: int, depth: Depth, r: Expr, s: Expr) -> list[Expr]:
        first, (channel,) = at.group * self.rows + at.first, depth
        # No tile crosses a block of 16 maps: one address serves all.
        aligned = self.rows % self.tile[0] == 0 and LANES % self.tile[0] == 0
        places = [
            (first // LANES, first % LANES + m)
            if aligned
            else ((first + m) // LANES, (first + m) % LANES)
            for m in range(size)
        ]
        weights = self.w.buffers[self.weights]
        return [weights[block, channel, r, s, lane] for block, lane in places]

    @contextmanager
    def reduction(self, group: Expr, taps: Taps) -> Iterator[Step]:
        channels = self.weights.type.shape[1]
        with self.w.serial(channels) as c, self.w.serial(taps.end - taps.begin, taps.begin) as t:
            yield Step(group * channels + c, (c,), taps.tap(t), taps.source(t))


class _ConvDx(_Correlation):
    axis = Adjoint

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs

    def scalars(self, at: At, size: int, depth: Depth, r: Expr, s: Expr) -> list[Expr]:
        block, lane = depth
        weights = self.w.buffers[self.weights]
        return [weights[block, at.first + m, r, s, lane] for m in range(size)]

    @contextmanager
    def reduction(self, group: Expr, taps: Taps) -> Iterator[Step]:
        w, maps = self.w, self.weights.type.shape[0] // self.groups
        first = group * maps
        begin, end = first // LANES, (first + maps + LANES - 1) // LANES
        with w.serial(taps.end - taps.begin, taps.begin) as t, w.serial(end - begin, begin) as k:
            low = tirx.max(0, first - k * LANES)
            high = tirx.min(LANES, first + maps - k * LANES)
            with w.serial(high - low, low) as lane:
                yield Step(k * LANES + lane, (k, lane), taps.tap(t), taps.source(t))
