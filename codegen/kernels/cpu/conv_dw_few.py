"""The weight gradient of a convolution of few source maps: 16 images per lane, as in memory.

Too few channels fill no tile of `conv_dw`, and transposing dy for them would cost as much as the
sums. Here a tile holds some maps x adjacent taps, each a vector of partial sums over images, which
are added up at the end. A task is a block of 16 maps and some rows of the window, where threads are
many fewer rows, then some channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx

from codegen.kernels.axis import Forward, axes, groups_of
from codegen.kernels.cpu.tile import Tile, clear, pieces
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.epilogue import Epilogue
from codegen.kernels.memory import Scratch
from codegen.kernels.ranges import Range
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph, Node

TASKS = 8
"""As many tasks as keep the threads of a usual machine busy; each reads x and dy again."""
FEW = 4
"""Channels that are few."""


def suits(node: Node) -> bool:
    """Whether this rule is for a conv_dw: few channels, and groups of whole blocks of maps."""
    maps, groups = node.type.shape[0], groups_of(node)
    return node.type.shape[1] <= FEW and (groups == 1 or maps // groups % LANES == 0)


@dataclass(frozen=True)
class At:
    """Where sums belong: the kind of image block, the block itself, the block of 16 maps, the
    row of the window within its part, the channel, and the first map of a tile in its block."""

    kind: Expr
    block: Expr
    maps: Expr
    r: Expr
    channel: Expr
    first: Expr


class ConvDwFew:
    """dw [maps, channels, kh, kw]."""

    def __init__(self, region: Graph, target: Cpu, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self.epilogue = node, Epilogue(self.w, node)
        self.x, self.dy = node.inputs
        self.channels, *self.window = node.type.shape[1:]
        self.down, self.across = axes(
            Forward, node, self.dy.type.shape[2:], self.x.type.shape[2:], self.window
        )
        self.rows = next(n for n in (4, 2, 1) if n <= target.accumulators)  # they divide 16
        self.taps = target.accumulators // self.rows
        self.rest = self.x.type.shape[0] % LANES

    def build(self) -> Built:
        """Write it all."""
        w, (height, width) = self.w, self.window
        group = self.node.type.shape[0] // groups_of(self.node)
        kinds = 2 if self.rest else 1  # full blocks of images, and the one that is not
        total = blocks(self.node.type)
        least = min(height, -(-TASKS // total))
        bands = w.cuts(total, least, height)
        parts = w.cuts(total * bands, 1, self.channels)
        with w.tasks(total * bands * parts) as task:
            rest = w.opaque(task // parts)
            maps, (above, below) = w.opaque(rest // bands), w.part(height, rest % bands, bands)
            channels = w.part(self.channels, task % parts, parts)
            first = w.let(maps * LANES // group * self.channels)
            sums = w.scratch(kinds, LANES, -(-height // least), self.channels, width, LANES)
            clear(w, sums)
            with w.serial(blocks(self.x.type)) as block, w.serial(self.down.results) as y:
                kind = (block + 1) // (self.x.type.shape[0] // LANES + 1) if self.rest else 0
                taps = self.down.taps(y)
                begin = tirx.max(taps.begin, above)
                end = tirx.max(begin, tirx.min(taps.end, below))
                with (
                    w.serial(LANES // self.rows) as tile,
                    w.serial(end - begin, begin) as r,
                    w.serial(channels[1] - channels[0], channels[0]) as c,
                ):
                    at = At(kind, block, maps, r - above, c, tile * self.rows)
                    self._add_row(sums, at, y, (block, first + c, taps.source(r)))
            with w.serial(below - above) as r:
                self._finish(sums, maps, channels, above, r)
        return w.built(noalias=True)

    def _add_row(self, sums: Scratch, at: At, y: Expr, row: Sequence[Expr]) -> None:
        """Add one row of dy times one row of x, for all taps of a row of the window."""
        for run in pieces(self.window[1], self.taps):
            for begin in range(run.begin, run.begin + run.size * run.count, run.size):
                taps = range(begin, begin + run.size)
                met = [self._columns_of(s) for s in taps]
                low = max(first for first, _ in met)
                high = max(low, min(end for _, end in met))
                self._add(sums, at, y, row, taps, (low, high))
                for s, (first, end) in zip(taps, met, strict=True):
                    # Columns that some taps of the tile meet and others do not.
                    self._add(sums, at, y, row, range(s, s + 1), (first, min(end, low)))
                    self._add(sums, at, y, row, range(s, s + 1), (max(first, high), end))

    def _columns_of(self, s: int) -> tuple[int, int]:
        """The columns of dy that meet a pixel through a tap."""
        axis = self.across
        end = (axis.sources - 1 + axis.before - s) // axis.stride + 1
        return max(0, -((s - axis.before) // axis.stride)), min(axis.results, end)

    def _add(
        self,
        sums: Scratch,
        at: At,
        y: Expr,
        row: Sequence[Expr],
        taps: range,
        columns: tuple[int, int],
    ) -> None:
        w, (begin, end) = self.w, columns
        if begin >= end:
            return
        tile = Tile(w, self.rows, len(taps))
        with w.serial(end - begin, begin) as x:
            maps = [self._dy(at, m, y, x) for m in range(self.rows)]
            tile.multiply(maps, [self._x(row, x, s) for s in taps])
        tile.keep_added(sums, lambda m, n: (at.kind, at.first + m, at.r, at.channel, taps[n]))

    def _dy(self, at: At, m: int, y: Expr, x: Expr) -> Lane:
        # Maps beyond the last are not kept; any will do for them.
        own = tirx.min(at.maps * LANES + at.first + m, self.node.type.shape[0] - 1)
        return lambda lane: self.w.buffers[self.dy][at.block, own, y, x, lane]

    def _x(self, row: Sequence[Expr], x: Expr, s: int) -> Lane:
        place = x * self.across.stride + s - self.across.before
        return lambda lane: self.w.buffers[self.x][(*row, place, lane)]

    def _finish(self, sums: Scratch, maps: Expr, channels: Range, above: Expr, r: Expr) -> None:
        """Add up the images."""
        w, zero = self.w, tirx.const(0, "float32")
        vector = w.scratch(LANES)
        with (
            w.serial(channels[1] - channels[0], channels[0]) as c,
            w.serial(self.window[1]) as s,
        ):
            with w.serial(LANES) as m:
                parts = [(0, LANES), (1, self.rest)] if self.rest else [(0, LANES)]
                total = sum(sums[k, m, r, c, s, n] for k, images in parts for n in range(images))
                inside = maps * LANES + m < self.node.type.shape[0]
                w.put(vector, tirx.Select(inside, total, zero), m)
            self.epilogue.write((maps, c, above + r, s), lambda lane: vector[lane,])
