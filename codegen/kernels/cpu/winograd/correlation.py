"""A convolution, or the data gradient of one, by minimal filtering: 16 images per lane.

A task is a band, some rows of tiles of a few columns, in one group of one image block. It
transforms the band's pixels, multiplies for each product a matrix of weights with one of pixels,
and transforms back, some maps at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx

from codegen.kernels.axis import groups_of
from codegen.kernels.cpu.linear import transform
from codegen.kernels.cpu.tile import VECTOR, Tile, pieces
from codegen.kernels.cpu.winograd.band import At, Band, columns_of_strip, rows_of_tile
from codegen.kernels.cpu.winograd.blocking import Blocking, Matrices
from codegen.kernels.cpu.winograd.pixels import Pixels, Strip
from codegen.kernels.cpu.winograd.weights import transformed
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.epilogue import Epilogue
from codegen.kernels.memory import Scratch
from codegen.kernels.ranges import Range
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph, Node


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
        self.tuning = target.tuning
        columns = columns_of_strip(target, self.maps, phases.across.tiles)
        self.runs = pieces(phases.across.tiles, columns)
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
        w, tile_rows, tiles_of_maps = self.w, self.phases.down.tiles, self.maps // self.rows
        weights = transformed(w, self.weights, self.phases)
        for run in self.runs:
            share = self._blocking(run.size)
            # For all threads to have work, tasks get fewer rows, then fewer maps; for parts of
            # the maps pixels are transformed again.
            whole = blocks(self.node.type) * self.groups * run.count
            bands = w.cuts(whole, -(-tile_rows // share.rows), tile_rows)
            parts = w.cuts(whole * bands, 1, tiles_of_maps)
            with w.tasks(whole * bands * parts) as task:
                rest = w.opaque(task // parts)
                maps = w.part(tiles_of_maps, task % parts, parts)
                rows = w.part(tile_rows, rest % bands, bands)
                rest = w.opaque(rest // bands)
                column = w.let(run.begin + rest % run.count * run.size)
                group = w.let(rest // run.count % self.groups)
                block = w.let(rest // (run.count * self.groups))
                larger = min(max(self.phases.across.larger - run.begin, 0), run.size)
                band = Band(block, group, rows, column, run.size, larger)
                self._band(weights, band, maps, share)
        return w.built(noalias=True)

    def _blocking(self, columns: int) -> Blocking:
        tiles = self.maps // self.rows
        matrices = Matrices(self.phases.products, tiles, self.rows, self.depth, columns)
        return matrices.blocking(self.phases.down.tiles, 2 * self.tuning.cached)

    def _band(self, weights: Scratch, band: Band, maps: Range, share: Blocking) -> None:
        w, panels, tiles = self.w, self.phases.products, share.rows * band.columns
        pixels = w.scratch(panels, self.depth, tiles, LANES, skew=LANES)
        products = w.scratch(panels, share.maps * self.rows, tiles, LANES, skew=LANES)
        self._transform_pixels(pixels, band)
        with w.serial((maps[1] - maps[0] + share.maps - 1) // share.maps) as turn:
            begin = w.let(maps[0] + turn * share.maps)
            count = w.let(tirx.min(share.maps, maps[1] - begin))
            for panel, rows, columns in self._panels(band):
                with w.serial(count) as i, band.each_row(w, rows) as (_, place):
                    first, kept = (begin + i) * self.rows, i * self.rows
                    at = At(band, panel, first, kept, place, columns)
                    self._multiply(weights, pixels, products, at)
            self._transform_back(products, band, begin * self.rows, count * self.rows)

    def _panels(self, band: Band) -> Iterator[tuple[Expr, Range, int]]:
        """Write for all products, each with the rows and the number of columns that have it."""
        w, (down, across) = self.w, (self.phases.down, self.phases.across)
        with w.serial(down.products) as i:
            begin, end = band.rows
            if len(down.kinds) > 1:
                larger = tirx.max(begin, tirx.min(end, down.larger))
                end = w.let(tirx.Select(i == 0, larger, end))
            whole = 0 if band.larger == band.columns else 1
            if whole and band.larger:
                yield w.let(i * across.products), (begin, end), band.larger
            with w.serial(across.products - whole, whole) as j:
                yield w.let(i * across.products + j), (begin, end), band.columns

    def _transform_pixels(self, result: Scratch, band: Band) -> None:
        w = self.w
        pixels = Pixels(w, self.phases, w.buffers[self.source], band.columns)
        first = band.group * (self.depth // self.phases.count)
        with w.serial(self.depth) as d, band.each_row(w) as (row, place):
            channel, *phase = self.phases.of(w, d)

            def at(product: Expr, tile: Expr) -> tuple[Expr, ...]:
                return product, d, place + tile

            strip = Strip(band.block, row, band.column, band.columns)
            pixels.transform(strip, first + channel, (phase[0], phase[1]), result, at)

    # ------------------------------------------------------------------------ products

    def scalars(self, weights: Scratch, at: At, depth: tuple[Expr, Expr]) -> list[Expr]:
        """The transformed weights between each row of a register tile and some depth."""
        raise NotImplementedError

    def _multiply(self, weights: Scratch, pixels: Scratch, products: Scratch, at: At) -> None:
        tile = Tile(self.w, self.rows, at.columns)
        with self.reduction(at.band.group) as (d, *depth):
            tile.add(
                self.scalars(weights, at, (depth[0], depth[1])),
                [self._pixels(pixels, at, d, n) for n in range(at.columns)],
            )
        tile.keep(products, lambda m, n: (at.panel, at.kept + m, at.place + n))

    def _pixels(self, pixels: Scratch, at: At, depth: Expr, n: int) -> Lane:
        return lambda lane: pixels[at.panel, depth, at.place + n, lane]

    # ------------------------------------------------------------------------ results

    def _transform_back(self, products: Scratch, band: Band, first: Expr, count: Expr) -> None:
        """Back from products, and finish, `count` maps of the group from `first` on."""
        w, (down, across) = self.w, (self.phases.down, self.phases.across)
        half = w.scratch(down.size, across.products, LANES)
        whole = w.scratch(down.size, across.size, LANES)
        with (
            w.serial(count) as k,
            band.each_row(w) as (row, place),
            w.serial(band.columns) as t,
        ):
            column = w.let(band.column + t)
            low = w.let(across.first(column))
            with w.serial(across.products - low, low) as j:
                for kind in down.kind(w, row):
                    matrix, high = kind.forward.output, kind.first
                    panels = [i * across.products + j for i in range(high, down.products)]
                    vectors = [products[panel, k, place + t, VECTOR] for panel in panels]
                    transform(w, matrix, vectors, half, lambda i: (i, j))
            top, left = w.let(down.start(row)), w.let(across.start(column))
            height, width = w.let(down.has(row)), w.let(across.has(column))
            with w.serial(height) as i:
                for kind in across.kind(w, column):
                    vectors = [half[i, j, VECTOR] for j in range(kind.first, across.products)]
                    transform(w, kind.forward.output, vectors, whole, lambda j: (i, j))
            with w.serial(height) as i, w.serial(width) as j:
                at = (band.block, band.group * self.maps + first + k, top + i, left + j)
                self.epilogue.write(at, lambda lane: whole[i, j, lane])
