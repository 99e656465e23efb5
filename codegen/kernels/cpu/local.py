"""Locally connected layers and their gradients: a convolution with weights for every position.

y and dx: 16 images per lane, a task is a row of results. dw: 16 maps per lane, a task is a
position of dy. Nothing is reused over positions, so tiles reach over image blocks instead.
"""

from functools import partial
from itertools import product
from typing import Any

from tvm import tirx

from codegen.kernels.axis import Adjoint, Axis, Forward, axes
from codegen.kernels.cpu.tile import Tile, best_shape, clear, each, pieces
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.epilogue import Epilogue
from codegen.kernels.memory import Scratch
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph, Node

Pair = tuple[Expr, Expr]
"""A place in an image: row and column."""


class _Images:
    """A result [N, maps, H, W] of a source [N, depth, H', W'] and weights."""

    axis: type[Axis]
    source: Node
    weights: Node

    def __init__(self, region: Graph, target: Cpu, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self.epilogue = node, Epilogue(self.w, node)
        self.operands()
        self.blocks, (self.maps, *size) = blocks(node.type), node.type.shape[1:]
        self.rows, self.columns = best_shape(target.accumulators, self.maps, self.blocks)
        images, window = self.source.type.shape[2:], self.weights.type.shape[4:]
        self.down, self.across = axes(self.axis, node, size, images, window)

    def operands(self) -> None:
        """Tell source and weights apart."""
        raise NotImplementedError

    def scalar(self, row: Expr, depth: Expr, pixel: Pair, source: Pair, tap: Pair) -> Expr:
        """The weight between a map of the result and one of the source through a tap."""
        raise NotImplementedError

    def build(self) -> Built:
        """Write it all."""
        w, (height, width) = self.w, self.node.type.shape[2:]
        with w.tasks(height * width) as task:
            pixel = w.let(task // width), w.let(task % width)
            sums = w.scratch(self.rows, self.columns, LANES)
            for rows, columns in product(
                pieces(self.maps, self.rows), pieces(self.blocks, self.columns)
            ):
                with rows.each(w) as row, columns.each(w) as block:
                    tile = Tile(w, rows.size, columns.size)
                    self._add(tile, (row, rows.size), (block, columns.size), pixel)
                    tile.keep(sums, lambda m, n: (m, n))
                    with each(w, (rows.size, columns.size)) as (m, n):
                        at = (block + n, row + m, *pixel)
                        self.epilogue.write(at, partial(_at, sums, m, n))
        return w.built(noalias=True)

    def _add(
        self, tile: Tile, rows: tuple[Expr, int], columns: tuple[Expr, int], pixel: Pair
    ) -> None:
        w, down, across = self.w, self.down.taps(pixel[0]), self.across.taps(pixel[1])
        with (
            w.serial(self.source.type.shape[1]) as i,
            w.serial(down.end - down.begin, down.begin) as r,
            w.serial(across.end - across.begin, across.begin) as s,
        ):
            source, tap = (down.source(r), across.source(s)), (down.tap(r), across.tap(s))
            (row, size), (block, width) = rows, columns
            scalars = [self.scalar(row + m, i, pixel, source, tap) for m in range(size)]
            x = self.w.buffers[self.source]
            tile.add(scalars, [partial(_at, x, block + n, i, *source) for n in range(width)])


class Local(_Images):
    """A locally connected layer and what follows it."""

    axis = Forward

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs

    def scalar(self, row: Expr, depth: Expr, pixel: Pair, source: Pair, tap: Pair) -> Expr:
        return self.w.buffers[self.weights][row // LANES, *pixel, depth, *tap, row % LANES]


class LocalDx(_Images):
    """A locally connected layer's data gradient and what follows it."""

    axis = Adjoint

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs

    def scalar(self, row: Expr, depth: Expr, pixel: Pair, source: Pair, tap: Pair) -> Expr:
        return self.w.buffers[self.weights][depth // LANES, *source, row, *tap, depth % LANES]


class LocalDw:
    """dw [O,OH,OW,C,kh,kw]: every position correlates its own pixels with its own dy."""

    def __init__(self, region: Graph, target: Cpu, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self.epilogue = node, Epilogue(self.w, node)
        self.x, self.dy = node.inputs
        _, *self.size, self.channels = node.type.shape[:4]
        self.window = node.type.shape[4:]
        self.rows = target.accumulators
        images = self.x.type.shape[2:]
        self.down, self.across = axes(Forward, node, self.size, images, self.window)

    def build(self) -> Built:
        """Write it all."""
        w, (height, width) = self.w, self.size
        with w.tasks(blocks(self.node.type) * height * width) as task:
            block = w.let(task // (height * width))
            pixel = w.let(task // width % height), w.let(task % width)
            flipped = w.scratch(blocks(self.x.type), LANES, LANES)
            sums = w.scratch(*self.window, self.channels, LANES)
            clear(w, sums)
            self._transpose(flipped, block, pixel)
            self._add(sums, flipped, pixel)
            with each(w, (self.channels, *self.window)) as (c, r, s):
                self.epilogue.write((block, *pixel, c, r, s), partial(_at, sums, r, s, c))
        return w.built(noalias=True)

    def _transpose(self, flipped: Scratch, block: Expr, pixel: Pair) -> None:
        """dy as flipped[block of images, image, map]; zero for maps beyond the last."""
        w, dy = self.w, self.w.buffers[self.dy]
        clear(w, flipped)
        own = tirx.min(LANES, self.dy.type.shape[1] - block * LANES)
        with w.serial(own) as k, each(w, flipped.shape[:2]) as (images, image):
            w.put(flipped, dy[images, block * LANES + k, *pixel, image], images, image, k)

    def _add(self, sums: Scratch, flipped: Scratch, pixel: Pair) -> None:
        w, down, across = self.w, self.down.taps(pixel[0]), self.across.taps(pixel[1])
        with (
            w.serial(down.end - down.begin, down.begin) as r,
            w.serial(across.end - across.begin, across.begin) as s,
        ):
            for run in pieces(self.channels, self.rows):
                with run.each(w) as c:
                    tile = Tile(w, run.size, 1)
                    self._sum(
                        tile,
                        flipped,
                        [c + m for m in range(run.size)],
                        (down.source(r), across.source(s)),
                    )
                    tile.keep(sums, lambda m, n: (r, s, c + m))

    def _sum(self, tile: Tile, flipped: Scratch, channels: list[Expr], source: Pair) -> None:
        """Add up all images."""
        w, x = self.w, self.w.buffers[self.x]
        with w.serial(flipped.shape[0]) as b, w.serial(w.valid_lanes(self.x, b)) as image:
            pixels = [x[b, c, *source, image] for c in channels]
            tile.add(pixels, [partial(_at, flipped, b, image)])


def _at(array: Any, *at: Expr) -> Expr:
    """array[at], the lane last."""
    return array[at]
