"""The weight gradient of a convolution by minimal filtering: 16 maps per lane.

For each product a matrix of transformed pixels is multiplied with one of transformed dy, summed
over tiles and images. Tiles are worked on some strips at a time, for both to stay in a cache.
"""

from dataclasses import dataclass, replace

from tvm import tirx

from codegen.kernels.axis import groups_of
from codegen.kernels.cpu.linear import transform
from codegen.kernels.cpu.tile import VECTOR, Run, Tile, best_shape, pieces
from codegen.kernels.cpu.winograd.cotangents import Cotangents, Patch
from codegen.kernels.cpu.winograd.pixels import Pixels, Strip
from codegen.kernels.cpu.winograd.strips import Strips
from codegen.kernels.cpu.writer import LANES, Built, Writer, blocks
from codegen.kernels.epilogue import Epilogue
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph, Node


@dataclass(frozen=True)
class _Some:
    """`count` strips that are worked on at a time, from number `begin` on."""

    begin: Expr
    count: Expr


@dataclass(frozen=True)
class _Sums:
    """A register tile: its product, its first channel of x and of dw, its first block of maps;
    how many channels and blocks it has."""

    panel: Expr
    source: Expr
    channel: Expr
    maps: Expr
    rows: int
    columns: int


class ConvDw:
    """dw [maps, channels, kh, kw] and what follows it.

    A group has its own channels of x; with more than one, each has whole blocks of 16 maps.
    """

    def __init__(self, region: Graph, target: Cpu, node: Node, phases: Phases) -> None:
        self.w = Writer(region, target)
        self.phases, self.epilogue = phases, Epilogue(self.w, node)
        self.x, self.dy = node.inputs
        self.groups, self.blocks = groups_of(node), blocks(node.type)
        self.depth = node.type.shape[1] * phases.count
        self.shape = best_shape(target.accumulators, self.depth, self.blocks // self.groups)
        self._reserve(target.tuning.chunk)

    def _reserve(self, cached: int) -> None:
        """Decide how many strips to work on at a time, and make room for them and for the sums.

        Of the strips so many bytes, transformed, stay in a cache until they are multiplied.
        """
        w, products, depth = self.w, self.phases.products, self.depth * self.groups
        self.strips = Strips(self.phases, blocks(self.x.type))
        tiles, count = self.strips.tiles, self.strips.count
        strip = products * tiles * (depth + self.blocks * LANES) * LANES * 4
        self.turns = -(-count // max(1, cached // strip))
        some = -(-count // self.turns), tiles
        self.pixels = w.shared(products, depth, *some, LANES, skew=LANES)
        self.cotangents = w.shared(products, self.blocks, *some, LANES, LANES, skew=LANES)
        self.sums = w.shared(products, self.blocks, self.depth, LANES, skew=LANES)

    # ------------------------------------------------------------------------ loops

    def build(self) -> Built:
        """Write it all."""
        w = self.w
        with w.serial(self.turns) as turn:
            begin, end = (w.let(self.strips.count * (turn + i) // self.turns) for i in range(2))
            some = _Some(begin, w.let(end - begin))
            self._transform_pixels(some)
            self._transform_dy(some)
            for span in pieces(self.blocks // self.groups, self.shape[1]):
                self._multiply(some, span, turn == 0)
        self._transform_back()
        return w.built(noalias=True)

    # ------------------------------------------------------------------------ operands

    def _transform_pixels(self, some: _Some) -> None:
        w, depth = self.w, self.depth * self.groups
        whole = w.let(some.count * depth)
        parts = w.cuts(whole, 1, self.strips.tiles)  # neighbours transform the same columns
        with w.tasks(whole * parts) as task:
            pixels = Pixels(w, self.phases, w.buffers[self.x], self.strips.tiles)
            part, rest = w.let(task % parts), w.opaque(task // parts)
            number, d = w.let(rest // depth), w.let(rest % depth)
            channel, *phase = self.phases.of(w, d)
            strip = self.strips.at(w, some.begin + number)
            begin, end = w.part(strip.tiles, part, parts)

            def at(product: Expr, tile: Expr) -> tuple[Expr, ...]:
                return product, d, number, begin + tile

            own = replace(strip, first=w.let(strip.first + begin), tiles=w.let(end - begin))
            pixels.transform(own, channel, (phase[0], phase[1]), self.pixels, at)

    def _transform_dy(self, some: _Some) -> None:
        w = self.w
        whole = w.let(some.count * self.blocks * self.strips.tiles)
        parts = w.cuts(whole, 1, LANES)  # each transposes dy again
        with w.tasks(whole * parts) as task:
            cotangents = Cotangents(w, self.phases, w.buffers[self.dy])
            images, rest = w.part(LANES, task % parts, parts), w.opaque(task // parts)
            tile, rest = w.let(rest % self.strips.tiles), w.let(rest // self.strips.tiles)
            maps, number = w.let(rest % self.blocks), w.let(rest // self.blocks)
            strip = self.strips.at(w, some.begin + number)

            def at(product: Expr, image: Expr) -> tuple[Expr, ...]:
                return product, maps, number, tile, image

            with w.when(tile < strip.tiles):
                patch = Patch(strip.block, maps, strip.row, strip.first + tile)
                cotangents.transform(patch, images, self.cotangents, at)

    # ------------------------------------------------------------------------ products

    def _multiply(self, some: _Some, span: Run, first: Expr) -> None:
        """Add what some strips give to the sums; `first`: there are none yet.

        A task's dy stays in the nearest cache while it meets all pixels of a product.
        """
        w, within = self.w, self.blocks // self.groups
        with w.tasks(self.phases.products * self.groups * span.count) as task:
            rest = w.let(task // span.count)
            panel, group = w.let(rest // self.groups), w.let(rest % self.groups)
            maps = w.let(group * within + span.begin + task % span.count * span.size)
            for channels in pieces(self.depth, self.shape[0]):
                with channels.each(w) as d:
                    source = group * self.depth + d
                    at = _Sums(panel, source, d, maps, channels.size, span.size)
                    self._add(some, at, first)

    def _add(self, some: _Some, at: _Sums, first: Expr) -> None:
        w, tile = self.w, Tile(self.w, at.rows, at.columns)
        with w.serial(some.count) as number:
            strip = self.strips.at(w, some.begin + number)
            # Lanes beyond the batch hold anything.
            images = w.valid_lanes(self.x, strip.block)
            tiles = w.let(self._met(strip, at.panel))
            with w.serial(tiles) as t, w.serial(images) as image:
                place = at.panel, number, t, image
                pixels = [self._pixel(at.source + m, *place) for m in range(at.rows)]
                tile.add(pixels, [self._maps(at.maps + n, *place) for n in range(at.columns)])

        def sums(m: int, n: int) -> tuple[Expr, ...]:
            return at.panel, at.maps + n, at.channel + m

        with w.when(first):
            tile.keep(self.sums, sums)
        with w.when(tirx.Not(first)):
            tile.keep_added(self.sums, sums)

    def _met(self, strip: Strip, panel: Expr) -> Expr:
        """How many tiles of a strip have a product; smaller ones lack the first."""
        (down, across), tiles = (self.phases.down, self.phases.across), strip.tiles
        if len(across.kinds) > 1:
            larger = tirx.max(0, tirx.min(tiles, across.larger - strip.first))
            tiles = tirx.Select(panel % across.products == 0, larger, tiles)
        if len(down.kinds) > 1:
            lacking = tirx.all(panel < across.products, strip.row >= down.larger)
            tiles = tirx.Select(lacking, 0, tiles)
        return tiles

    def _pixel(self, channel: Expr, panel: Expr, *place: Expr) -> Expr:
        return self.pixels[panel, channel, *place]

    def _maps(self, block: Expr, panel: Expr, *place: Expr) -> Lane:
        return lambda lane: self.cotangents[panel, block, *place, lane]

    # ------------------------------------------------------------------------ results

    def _transform_back(self) -> None:
        """A task has one block of maps, one channel and phase."""
        w, (down, across) = self.w, (self.phases.down, self.phases.across)
        back, along = (side.kinds[0].gradient.output for side in (down, across))
        with w.tasks(self.blocks * self.depth) as task:
            k, d = w.let(task // self.depth), w.let(task % self.depth)
            channel, row, column = self.phases.of(w, d)
            half = w.scratch(down.taps, across.products, LANES)
            taps = w.scratch(across.taps, LANES)
            with w.serial(across.products) as j:
                panels = [i * across.products + j for i in range(down.products)]
                vectors = [self.sums[panel, k, d, VECTOR] for panel in panels]
                transform(w, back, vectors, half, lambda r: (r, j))
            with w.serial(down.count(row)) as r:
                vectors = [half[r, j, VECTOR] for j in range(across.products)]
                transform(w, along, vectors, taps, lambda s: (s,))
                with w.serial(across.count(column)) as s:
                    place = (k, channel, down.tap(r, row), across.tap(s, column))
                    self.epilogue.write(place, lambda lane: taps[s, lane])
