"""The weight gradient of a convolution: 16 maps per lane, pixels of x broadcast.

A task is a span of maps and some source maps, where threads are many fewer of these, then some rows
of the window; it keeps its gradient in scratch while it runs over all images. Rows of dy are
transposed, in every task, so that a vector holds 16 maps of one image.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tvm import tirx

from codegen.kernels.axis import Forward, axes, groups_of
from codegen.kernels.cpu.tile import VECTOR, Tile, clear, each, pieces
from codegen.kernels.cpu.transpose import transposed
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.epilogue import Epilogue
from codegen.kernels.memory import Scratch
from codegen.kernels.ranges import Range
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph, Node

SPAN = 2
"""Blocks of 16 maps that a task has at most."""
CACHED = 24 * 1024
"""Bytes of dy that are kept in the nearest cache, transposed."""
TASKS = 24
"""As many tasks as keep the threads of a usual machine busy."""


@dataclass(frozen=True)
class _Row:
    """`width` columns from `x` on in row `y` of dy, in an image block of so many `images`;
    `first` is the group's first channel of x."""

    block: Expr
    y: Expr
    x: Expr
    width: int
    first: Expr
    images: Expr


@dataclass(frozen=True)
class _Share:
    """A task's register tiles of channels, by their numbers, and its rows of the window."""

    tiles: Range
    rows: Range


class ConvDw:
    """dw [maps, channels, kh, kw], in each group of maps from its own channels of x."""

    def __init__(self, region: Graph, target: Cpu, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self.epilogue = node, Epilogue(self.w, node)
        self.x, self.dy = node.inputs
        self.maps, self.channels, *self.window = node.type.shape
        self.group = self.maps // groups_of(node)
        self.span = self._span(target)
        self.runs = pieces(self.channels, max(1, target.accumulators // self.span))
        self.columns = max(1, CACHED // (self.span * LANES * LANES * 4))
        self.down, self.across = axes(
            Forward, node, self.dy.type.shape[2:], self.x.type.shape[2:], self.window
        )

    def _span(self, target: Cpu) -> int:
        """Blocks of maps per task: a divisor of all, and of a group's where these are whole."""
        total = blocks(self.node.type)
        within = self.group // LANES if self.group % LANES == 0 else total
        most = min(SPAN, target.accumulators)
        return max(n for n in range(1, most + 1) if within % n == 0)

    # ------------------------------------------------------------------------ loops

    def build(self) -> Built:
        """Write it all."""
        w, (height, width), spans = self.w, self.window, blocks(self.node.type) // self.span
        tiles = sum(run.count for run in self.runs)
        least = min(tiles, -(-TASKS // spans))
        parts = w.cuts(spans, least, tiles)
        bands = w.cuts(spans * parts, 1, height)
        with w.tasks(spans * parts * bands) as task:
            rest = w.opaque(task // bands)
            part, span = w.let(rest % parts), w.opaque(rest // parts)
            share = _Share(w.part(tiles, part, parts), w.part(height, task % bands, bands))
            rows = self.runs[0].size
            sums = w.scratch(-(-tiles // least), rows, height, width, self.span, LANES)
            widths = pieces(self.across.results, self.columns)
            flipped = w.scratch(widths[0].size, LANES, self.span * LANES)
            clear(w, sums)
            with (
                self._groups(span) as group,
                w.serial(blocks(self.x.type)) as block,
                w.serial(self.down.results) as y,
            ):
                images, channel = w.valid_lanes(self.x, block), w.let(group * self.channels)
                for columns in widths:
                    with columns.each(w) as x:
                        row = _Row(block, y, x, columns.size, channel, images)
                        self._transpose(flipped, row, span, group)
                        self._add_row(sums, flipped, row, share)
            self._finish(sums, span, share)
        return w.built(noalias=True)

    def _finish(self, sums: Scratch, span: Expr, share: _Share) -> None:
        w, (low, high) = self.w, share.rows
        for run in self.runs:
            with (
                run.some(w, share.tiles) as (tile, c),
                each(w, (run.size, high - low, self.window[1], self.span)) as (m, r, s, k),
            ):
                at = (span * self.span + k, c + m, low + r, s)
                self.epilogue.write(
                    at, lambda lane: sums[tile - share.tiles[0], m, low + r, s, k, lane]
                )

    @property
    def _whole(self) -> bool:
        """Whether every span lies within one group and is full."""
        return self.group % (self.span * LANES) == 0

    @contextmanager
    def _groups(self, span: Expr) -> Iterator[Expr]:
        """A loop over the groups that a span has maps of."""
        lanes = self.span * LANES
        first = span * lanes // self.group
        if self._whole:
            yield self.w.let(first)
        else:
            last = (tirx.min((span + 1) * lanes, self.maps) - 1) // self.group
            with self.w.serial(last - first + 1, first) as group:
                yield group

    def _transpose(self, flipped: Scratch, at: _Row, span: Expr, group: Expr) -> None:
        """One row of dy as flipped[column, image, map]; zero for maps of other groups."""
        w, dy = self.w, self.w.buffers[self.dy]
        if not self._whole:
            self._transpose_one_by_one(flipped, at, span, group)
            return
        with each(w, (at.width, self.span)) as (x, k):
            first = w.let((span * self.span + k) * LANES)
            rows = [dy[at.block, first + m, at.y, at.x + x, VECTOR] for m in range(LANES)]
            for image, maps in enumerate(transposed(w, rows)):
                w.put(flipped, maps, x, image, k * LANES + VECTOR)

    def _transpose_one_by_one(self, flipped: Scratch, at: _Row, span: Expr, group: Expr) -> None:
        """The same where a vector holds maps of several groups, or maps beyond the last."""
        w, dy, lanes = self.w, self.w.buffers[self.dy], self.span * LANES
        begin, end = group * self.group, (group + 1) * self.group
        clear(w, flipped)
        with w.serial(lanes) as k:
            own = w.let(span * lanes + k)
            with w.when(tirx.all(begin <= own, own < end)), each(w, (at.width, LANES)) as (x, i):
                w.put(flipped, dy[at.block, own, at.y, at.x + x, i], x, i, k)

    def _add_row(self, sums: Scratch, flipped: Scratch, at: _Row, share: _Share) -> None:
        """Add what one row of dy gives, for all channels of the task and all taps."""
        w, taps = self.w, self.down.taps(at.y)
        low = w.let(tirx.max(taps.begin, share.rows[0]))
        high = w.let(tirx.max(low, tirx.min(taps.end, share.rows[1])))
        for run in self.runs:
            with (
                run.some(w, share.tiles) as (number, c),
                w.serial(high - low, low) as r,
                w.serial(self.window[1]) as s,
            ):
                tile = Tile(w, run.size, self.span)
                begin, end = self.across.results_of(s)
                begin, end = tirx.max(begin, at.x), tirx.min(end, at.x + at.width)
                with w.serial(end - begin, begin) as x, w.serial(at.images) as image:
                    pixel = (taps.source(r), x * self.across.stride + s - self.across.before)
                    scalars = [self._pixel(at, c + m, *pixel, image) for m in range(run.size)]
                    tile.add(
                        scalars, [self._maps(flipped, x - at.x, image, n) for n in range(self.span)]
                    )
                tile.keep_added(sums, lambda m, n: (number - share.tiles[0], m, r, s, n))

    def _pixel(self, at: _Row, channel: Expr, y: Expr, x: Expr, image: Expr) -> Expr:
        return self.w.buffers[self.x][at.block, at.first + channel, y, x, image]

    def _maps(self, flipped: Scratch, x: Expr, image: Expr, block: int) -> Lane:
        return lambda lane: flipped[x, image, block * LANES + lane]
