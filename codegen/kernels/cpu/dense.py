"""Dense layers and their gradients.

y and dx: 16 images per lane, weights broadcast. A task is some features of the result, fewer where
threads are many: each task reads the whole source. The sum over the other features is cut into
parts that stay in the nearest cache, partial sums into scratch. dw: 16 outputs per lane, a task is
a span of outputs and some inputs.
"""

from collections.abc import Sequence
from itertools import product

from tvm import tirx

from codegen.kernels.cpu.tile import Tile, best_shape, clear, each, pieces
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.epilogue import Epilogue
from codegen.kernels.memory import Scratch
from codegen.kernels.ranges import Range
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph, Node

FEATURES = 256
"""Features of a task at most: so often is the source read from beyond the second cache."""


class _Product:
    """A result [N, features] = source [N, depth] times weights."""

    source: Node
    weights: Node

    def __init__(self, region: Graph, target: Cpu, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self.epilogue = node, Epilogue(self.w, node)
        self.operands()
        self.features, self.blocks = node.type.shape[1], blocks(node.type)
        best = best_shape(target.accumulators, self.features, self.blocks)
        self.rows, self.columns = target.tuning.shape or best
        self.depth = max(1, target.tuning.near // (self.columns * LANES * 4))

    def operands(self) -> None:
        """Tell source and weights apart."""
        raise NotImplementedError

    def scalar(self, feature: Expr, depth: Expr) -> Expr:
        """The weight between a feature of the result and one of the source."""
        raise NotImplementedError

    def build(self) -> Built:
        """Write it all: as many features as can be had in full, then those that are left over."""
        some = min(FEATURES, self.features)
        full, rest = divmod(self.features, some)
        self._each(0, full, some)
        if rest:
            self._each(full * some, 1, rest)
        return self.w.built(noalias=True)

    def _each(self, begin: int, times: int, count: int) -> None:
        """So many times `count` features from one on."""
        w, runs = self.w, pieces(count, self.rows)
        most = sum(run.count for run in runs)
        parts = w.cuts(times, 1, most)
        with w.tasks(times * parts) as task:
            numbers = w.part(most, task % parts, parts)
            self._some(w.let(begin + w.opaque(task // parts) * count), count, numbers)

    def _some(self, first: Expr, count: int, numbers: Range) -> None:
        """Of `count` features the register tiles of these numbers."""
        w = self.w
        sums = w.scratch(count, self.blocks, LANES)
        clear(w, sums)
        for part in pieces(self.source.type.shape[1], self.depth):
            with part.each(w) as begin:
                for columns in pieces(self.blocks, self.columns):
                    with columns.each(w) as block:
                        depth, at = (begin, part.size), (block, columns.size)
                        self._add(sums, first, numbers, depth, at)
        for run in pieces(count, self.rows):
            with run.some(w, numbers) as (_, row), each(w, (run.size, self.blocks)) as (m, n):
                place = (n, first + row + m)
                self.epilogue.write(place, lambda lane: sums[row + m, n, lane])

    def _add(
        self,
        sums: Scratch,
        first: Expr,
        numbers: Range,
        depth: Sequence[Expr],
        at: Sequence[Expr],
    ) -> None:
        """Add what a part of the depth gives, for some rows and some blocks of images."""
        w, (begin, size), (block, columns) = self.w, depth, at
        for run in pieces(sums.shape[0], self.rows):
            with run.some(w, numbers) as (_, row):
                tile = Tile(w, run.size, columns)
                with w.serial(size, begin) as i:
                    scalars = [self.scalar(first + row + m, i) for m in range(run.size)]
                    tile.add(scalars, [self._vector(block + n, i) for n in range(columns)])
                tile.keep_added(sums, lambda m, n: (row + m, block + n))

    def _vector(self, block: Expr, depth: Expr) -> Lane:
        return lambda lane: self.w.buffers[self.source][block, depth, lane]


class Dense(_Product):
    """A dense layer and what follows it."""

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs

    def scalar(self, feature: Expr, depth: Expr) -> Expr:
        return self.w.buffers[self.weights][feature // LANES, depth, feature % LANES]


class DenseDx(_Product):
    """A dense layer's data gradient and what follows it."""

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs

    def scalar(self, feature: Expr, depth: Expr) -> Expr:
        return self.w.buffers[self.weights][depth // LANES, feature, depth % LANES]


class DenseDw:
    """dw [outputs, inputs] = dy^T x."""

    def __init__(self, region: Graph, target: Cpu, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self.epilogue = node, Epilogue(self.w, node)
        self.x, self.dy = node.inputs
        self.outputs, self.inputs = node.type.shape
        total = blocks(node.type)
        self.span = max(n for n in range(1, min(4, target.accumulators) + 1) if total % n == 0)
        self.rows = max(1, target.accumulators // self.span)

    def build(self) -> Built:
        """Write it all."""
        w, lanes = self.w, self.span * LANES
        parts = self._parts()
        some = self.inputs // parts
        with w.tasks(blocks(self.node.type) // self.span * parts) as task:
            first, span = w.let(task % parts * some), w.let(task // parts)
            flipped = w.scratch(blocks(self.x.type), LANES, lanes)
            row = w.scratch(min(self.rows, some), self.span, LANES)
            self._transpose(flipped, span)
            for run in pieces(some, self.rows):
                with run.each(w) as begin:
                    place = w.let(span * self.span), w.let(first + begin)
                    self._sum(row, run.size, flipped, place)
                    with each(w, (run.size, self.span)) as (m, k):
                        at = place[0] + k, place[1] + m
                        self.epilogue.write(at, lambda lane: row[m, k, lane])
        return w.built(noalias=True)

    def _parts(self) -> int:
        spans = blocks(self.node.type) // self.span
        fits = [n for n in range(1, self.inputs + 1) if self.inputs % n == 0]
        return next((n for n in fits if n * spans >= 64), self.inputs)

    def _transpose(self, flipped: Scratch, span: Expr) -> None:
        """dy as flipped[block, image, output]; zero for outputs beyond the last."""
        w, dy, lanes = self.w, self.w.buffers[self.dy], self.span * LANES
        clear(w, flipped)
        own = tirx.min(lanes, self.outputs - span * lanes)
        with w.serial(own) as k, each(w, flipped.shape[:2]) as (block, image):
            w.put(flipped, dy[block, span * lanes + k, image], block, image, k)

    def _sum(self, row: Scratch, size: int, flipped: Scratch, place: Sequence[Expr]) -> None:
        """A tile of dw. Meanwhile what it will be added to is fetched, rows with each block."""
        w, x, (span, first) = self.w, self.w.buffers[self.x], place
        tile, some = Tile(w, size, self.span), -(-size // flipped.shape[0])
        with w.serial(flipped.shape[0]) as b:
            for m, k in product(range(some), range(self.span)):
                self.epilogue.prefetch((span + k, first + b * some + m))
            with w.serial(w.valid_lanes(self.x, b)) as image:
                scalars = [x[b, first + m, image] for m in range(size)]
                tile.add(scalars, [_maps(flipped, b, image, n) for n in range(self.span)])
        tile.keep(row, lambda m, n: (m, n))


def _maps(flipped: Scratch, block: Expr, image: Expr, span: int) -> Lane:
    return lambda lane: flipped[block, image, span * LANES + lane]
