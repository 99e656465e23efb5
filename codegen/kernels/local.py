"""Locally connected layers and their gradients: a convolution with weights for every position.

y and dx: 16 images per lane, a task is a row of results. dw: 16 maps per lane, a task is a
position of dy. Nothing is reused over positions, so tiles reach over image blocks instead.
"""

from tvm import tirx

from codegen.kernels.axis import Adjoint, Axis, Forward, Taps
from codegen.kernels.epilogue import Epilogue, anchor
from codegen.kernels.tile import Tile, best_shape, clear, each, pieces
from codegen.kernels.writer import Built, Lane, Scratch, Writer
from codegen.layout import LANES, blocks
from codegen.loops import Expr
from codegen.targets import Target
from ir.graph import Graph, Node


def local(region: Graph, target: Target) -> Built | str:
    """The kernel of a locally connected layer and what follows it."""
    node = anchor(region, "local")
    return node if isinstance(node, str) else _Local(region, target, node).build()


def local_dx(region: Graph, target: Target) -> Built | str:
    """The kernel of a locally connected layer's data gradient and what follows it."""
    node = anchor(region, "local_dx")
    return node if isinstance(node, str) else _LocalDx(region, target, node).build()


def local_dw(region: Graph, target: Target) -> Built | str:
    """The kernel of a locally connected layer's weight gradient and what follows it."""
    node = anchor(region, "local_dw")
    return node if isinstance(node, str) else _LocalDw(region, target, node).build()


class _Images:
    """A result [N, maps, H, W] of a source [N, depth, H', W'] and weights."""

    axis: type[Axis]
    source: Node
    weights: Node

    def __init__(self, region: Graph, target: Target, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self.epilogue = node, Epilogue(self.w, node)
        self.operands()
        self.blocks, self.maps = blocks(node.type), node.type.shape[1]
        self.rows, self.columns = best_shape(target.accumulators, self.maps, self.blocks)

    def operands(self) -> None:
        """Tell source and weights apart."""
        raise NotImplementedError

    def scalar(self, row: Expr, depth: Expr, y: Expr, x: Expr, r: Expr, s: Expr) -> Expr:
        """The weight between a map of the result and one of the source through a tap."""
        raise NotImplementedError

    def build(self) -> Built:
        """Write it all."""
        w, (height, width) = self.w, self.node.type.shape[2:]
        down, across = (
            self.axis(
                self.node.type.shape[2 + i],
                self.source.type.shape[2 + i],
                self.weights.type.shape[4 + i],
                self.node.attrs["stride"][i],
                self.node.attrs["pad"][2 * i],
            )
            for i in range(2)
        )
        with w.tasks(height * width) as task:
            y, x = w.let(task // width), w.let(task % width)
            sums = w.scratch(self.rows, self.columns, LANES)
            for rows in pieces(self.maps, self.rows):
                for columns in pieces(self.blocks, self.columns):
                    with rows.each(w) as row, columns.each(w) as block:
                        tile = Tile(w, rows.size, columns.size)
                        self._add(tile, (row, rows.size), (block, columns.size), (down.taps(y), across.taps(x)), (y, x))
                        tile.keep(sums, lambda m, n: (m, n))
                        with each(w, (rows.size, columns.size)) as (m, n):
                            self.epilogue.write((block + n, row + m, y, x), lambda lane: sums[m, n, lane])
        return w.built(noalias=True)

    def _add(self, tile, rows, columns, taps, at) -> None:
        w, (down, across) = self.w, taps
        with (
            w.serial(self.source.type.shape[1]) as i,
            w.serial(down.end - down.begin, down.begin) as r,
            w.serial(across.end - across.begin, across.begin) as s,
        ):
            source = (i, down.source(r), across.source(s))
            scalars = [
                self.scalar(rows[0] + m, i, at, (source[1], source[2]), down.tap(r), across.tap(s)) for m in range(rows[1])
            ]
            tile.add(scalars, [self._vector(columns[0] + n, *source) for n in range(columns[1])])

    def _vector(self, *at: Expr) -> Lane:
        return lambda lane: self.w.buffers[self.source][(*at, lane)]


class _Local(_Images):
    axis = Forward

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs

    def scalar(self, row, depth, result, source, r, s) -> Expr:
        return self.w.buffers[self.weights][row // LANES, *result, depth, r, s, row % LANES]


class _LocalDx(_Images):
    axis = Adjoint

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs

    def scalar(self, row, depth, result, source, r, s) -> Expr:
        return self.w.buffers[self.weights][depth // LANES, *source, row, r, s, depth % LANES]


class _LocalDw:
    """dw [O,OH,OW,C,kh,kw]: every position correlates its own pixels with its own dy."""

    def __init__(self, region: Graph, target: Target, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self.epilogue = node, Epilogue(self.w, node)
        self.x, self.dy = node.inputs
        self.rows = target.accumulators

    def build(self) -> Built:
        """Write it all."""
        w = self.w
        _, height, width, channels, *window = self.node.type.shape
        down, across = (
            Forward(
                self.node.type.shape[1 + i],
                self.x.type.shape[2 + i],
                window[i],
                self.node.attrs["stride"][i],
                self.node.attrs["pad"][2 * i],
            )
            for i in range(2)
        )
        with w.tasks(blocks(self.node.type) * height * width) as task:
            block, y, x = w.let(task // (height * width)), w.let(task // width % height), w.let(task % width)
            flipped = w.scratch(blocks(self.x.type), LANES, LANES)
            sums = w.scratch(*window, channels, LANES)
            clear(w, sums)
            self._transpose(flipped, block, y, x)
            taps = down.taps(y), across.taps(x)
            with w.serial(taps[0].end - taps[0].begin, taps[0].begin) as r, w.serial(taps[1].end - taps[1].begin, taps[1].begin) as s:
                for run in pieces(channels, self.rows):
                    with run.each(w) as c:
                        tile = Tile(w, run.size, 1)
                        with w.serial(blocks(self.x.type)) as b, w.serial(w.valid_lanes(self.x, b)) as image:
                            pixels = [self.w.buffers[self.x][b, c + m, taps[0].source(r), taps[1].source(s), image] for m in range(run.size)]
                            tile.add(pixels, [lambda lane: flipped[b, image, lane]])
                        tile.keep(sums, lambda m, n: (r, s, c + m))
            with each(w, (channels, *window)) as (c, r, s):
                self.epilogue.write((block, y, x, c, r, s), lambda lane: sums[r, s, c, lane])
        return w.built(noalias=True)

    def _transpose(self, flipped: Scratch, block: Expr, y: Expr, x: Expr) -> None:
        w, dy = self.w, self.w.buffers[self.dy]
        clear(w, flipped)
        with w.serial(tirx.min(LANES, self.dy.type.shape[1] - block * LANES)) as k:
            with each(w, (blocks(self.x.type), LANES)) as (b, image):
                w.put(flipped, dy[b, block * LANES + k, y, x, image], b, image, k)
