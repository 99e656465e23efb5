"""A convolution, or the data gradient of one, by minimal filtering: 16 images per lane.

A task is a strip of tiles in one row of them, of one group in one image block: it transforms the
strip's pixels, multiplies for each product a matrix of weights with one of pixels, and transforms
back, some maps at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tvm import tirx

from codegen.kernels.axis import groups_of
from codegen.kernels.cpu.linear import transform
from codegen.kernels.cpu.tile import VECTOR, Tile, pieces
from codegen.kernels.cpu.winograd.phases import Phases
from codegen.kernels.cpu.winograd.pixels import Pixels, Strip
from codegen.kernels.cpu.winograd.weights import transformed
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.epilogue import Epilogue
from codegen.kernels.memory import Scratch
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph, Node

STRIP = 3
"""Tiles of a strip at most, and columns of a register tile."""
CACHED = 640 * 1024
"""Bytes of products that stay in a thread's second cache until they are transformed back."""


class Correlation:
    """A result [N, groups * rows, H, W] summed over taps and source maps."""

    source: Node
    weights: Node

    def __init__(self, region: Graph, target: Cpu, node: Node, phases: Phases) -> None:
        self.w = Writer(region, target)
        self.node, self.phases, self.epilogue = node, phases, Epilogue(self.w, node)
        self.operands()
        self.groups = groups_of(node)
        self.maps = node.type.shape[1] // self.groups
        self.depth = self.source.type.shape[1] // self.groups * phases.count
        columns = max(run.size for run in pieces(phases.across.tiles, STRIP))
        self.rows = rows_of_tile(target, self.maps, columns)

    def operands(self) -> None:
        """Tell source and weights apart."""
        raise NotImplementedError

    @contextmanager
    def reduction(self, group: Expr) -> Iterator[tuple[Expr, Expr, Expr]]:
        """Loops over the depth. Yields it, and how the weights index it: block of maps, place."""
        raise NotImplementedError

    # ------------------------------------------------------------------------ loops

    def build(self) -> Built:
        """Write it all."""
        w = self.w
        weights = transformed(w, self.weights, self.phases)
        for run in pieces(self.phases.across.tiles, STRIP):
            tasks = blocks(self.node.type) * self.groups * self.phases.down.tiles * run.count
            # Threads that would have nothing to do get a part of the maps; pixels are
            # transformed again for each part.
            parts = w.let(tirx.min(self.maps // self.rows, (2 * w.threads + tasks - 1) // tasks))
            with w.tasks(tasks * parts) as task:
                part, rest = w.let(task % parts), w.let(task // parts)
                first = run.begin + rest % run.count * run.size
                row = w.let(rest // run.count % self.phases.down.tiles)
                group = w.let(rest // (run.count * self.phases.down.tiles) % self.groups)
                block = w.let(rest // (run.count * self.phases.down.tiles * self.groups))
                strip = Strip(block, row, w.let(first), run.size)
                self._strip(weights, strip, group, (part, parts))
        return w.built(noalias=True)

    def _strip(self, weights: Scratch, strip: Strip, group: Expr, part: tuple[Expr, Expr]) -> None:
        w, panels, tiles = self.w, self.phases.products, strip.tiles
        pixels = w.scratch(panels, self.depth, tiles, LANES, skew=LANES)
        self._pixels(pixels, strip, group)
        at_once = max(1, CACHED // (panels * self.rows * tiles * LANES * 4))
        products = w.scratch(panels, at_once * self.rows, tiles, LANES, skew=LANES)
        total = self.maps // self.rows
        begin, end = (w.let(total * (part[0] + i) // part[1]) for i in range(2))
        with w.serial((end - begin + at_once - 1) // at_once) as turn:
            first = w.let(begin + turn * at_once)
            count = w.let(tirx.min(at_once, end - first))
            with w.serial(panels) as panel, w.serial(count) as i:
                at = _At(group, panel, (first + i) * self.rows, i * self.rows)
                self._multiply(weights, pixels, products, at)
            self._results(products, strip, group * self.maps + first * self.rows, count)

    def _pixels(self, result: Scratch, strip: Strip, group: Expr) -> None:
        w = self.w
        pixels = Pixels(w, self.phases, w.buffers[self.source], strip.tiles)
        with w.serial(self.depth) as d:
            channel, *phase = self.phases.of(w, d)
            channel = group * (self.depth // self.phases.count) + channel
            at = lambda product, tile: (product, d, tile)
            pixels.transform(strip, channel, (phase[0], phase[1]), result, at)

    # ------------------------------------------------------------------------ products

    def scalars(self, weights: Scratch, at: "_At", depth: tuple[Expr, Expr]) -> list[Expr]:
        """The transformed weights between each row of a register tile and some depth."""
        raise NotImplementedError

    def _multiply(self, weights: Scratch, pixels: Scratch, products: Scratch, at: "_At") -> None:
        tiles = pixels.shape[2]
        tile = Tile(self.w, self.rows, tiles)
        with self.reduction(at.group) as (d, *depth):
            vectors = [lambda lane, t=t: pixels[at.panel, d, t, lane] for t in range(tiles)]
            tile.add(self.scalars(weights, at, (depth[0], depth[1])), vectors)
        tile.keep(products, lambda m, n: (at.panel, at.place + m, n))

    # ------------------------------------------------------------------------ results

    def _results(self, products: Scratch, strip: Strip, first: Expr, count: Expr) -> None:
        """Transform back and finish some maps, the first of which is `first`."""
        w, (down, across) = self.w, (self.phases.down, self.phases.across)
        half = w.scratch(down.size, across.products, LANES)
        whole = w.scratch(down.size, across.size, LANES)
        top = w.let(strip.row * down.size)
        height = w.let(tirx.min(down.size, down.results - top))
        with w.serial(count * self.rows) as k, w.serial(strip.tiles) as t:
            with w.serial(across.products) as j:
                panels = [i * across.products + j for i in range(down.products)]
                vectors = [products[panel, k, t, VECTOR] for panel in panels]
                transform(w, down.forward.output, vectors, half, lambda i: (i, j))
            with w.serial(height) as i:
                vectors = [half[i, j, VECTOR] for j in range(across.products)]
                transform(w, across.forward.output, vectors, whole, lambda j: (i, j))
            left = w.let((strip.first + t) * across.size)
            width = w.let(tirx.min(across.size, across.results - left))
            with w.serial(height) as i, w.serial(width) as j:
                place = (strip.block, first + k, top + i, left + j)
                self.epilogue.write(place, lambda lane: whole[i, j, lane])


@dataclass(frozen=True)
class _At:
    """A register tile: its group and product, its first map in the group and in `products`."""

    group: Expr
    panel: Expr
    first: Expr
    place: Expr


def rows_of_tile(target: Cpu, maps: int, columns: int) -> int:
    """Maps of a register tile: as many as fit and divide all."""
    most = max(1, target.accumulators // columns)
    return max(n for n in range(1, most + 1) if maps % n == 0)


class Conv(Correlation):
    """A convolution and what follows it."""

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs

    @contextmanager
    def reduction(self, group: Expr) -> Iterator[tuple[Expr, Expr, Expr]]:
        with self.w.serial(self.depth) as d:
            yield d, 0, d

    def scalars(self, weights: Scratch, at: _At, depth: tuple[Expr, Expr]) -> list[Expr]:
        maps = [at.group * self.maps + at.first + m for m in range(self.rows)]
        return [weights[at.panel, k // LANES, depth[1], k % LANES] for k in maps]


class ConvDx(Correlation):
    """A convolution's data gradient and what follows it."""

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs

    @contextmanager
    def reduction(self, group: Expr) -> Iterator[tuple[Expr, Expr, Expr]]:
        first = self.w.let(group * self.depth)
        with self.w.serial(-(-self.depth // LANES)) as k:
            with self.w.serial(tirx.min(LANES, self.depth - k * LANES)) as lane:
                yield k * LANES + lane, first // LANES + k, lane

    def scalars(self, weights: Scratch, at: _At, depth: tuple[Expr, Expr]) -> list[Expr]:
        block, lane = depth
        return [weights[at.panel, block, at.first + m, lane] for m in range(self.rows)]
