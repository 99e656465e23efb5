"""A convolution, or the data gradient of one, by minimal filtering: a lane is an image.

Weights are transformed once. Then come turns, each some tiles of some images: pixels are
transformed, the products of all tiles are added up over the source maps, one matrix for each place
in a tile, and the sums are transformed back.
"""

from dataclasses import dataclass

from tvm import tirx

from codegen.kernels.axis import groups_of
from codegen.kernels.cuda.operand import Chunk, Element, Run, when
from codegen.kernels.cuda.product import Product
from codegen.kernels.cuda.tile import Size
from codegen.kernels.cuda.winograd.pixels import transform_pixels
from codegen.kernels.cuda.winograd.transform import transform
from codegen.kernels.cuda.winograd.turn import Tile, Turn, each_tile, numbered, turns_of
from codegen.kernels.cuda.winograd.weights import transform_weights
from codegen.kernels.cuda.writer import WARP, Built
from codegen.kernels.memory import Scratch
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node


@dataclass(frozen=True)
class Panel:
    """One of the products, in a group: its number, and how many blocks of columns have it."""

    group: Expr
    number: Expr
    columns: Expr
    chunks: Expr


class Correlation(Product[Panel]):
    """A result [N, groups * rows, H, W] of a source [N, groups * maps, H', W']; where there are
    strides, each phase of a source map counts as one."""

    source: Node
    weights: Node
    _filters: Scratch
    _pixels: Scratch
    _products: Scratch
    _turn: Turn

    def __init__(self, region: Graph, target: Cuda, node: Node, phases: Phases) -> None:
        super().__init__(region, target, node)
        self.operands()
        self.phases, self.groups = phases, groups_of(node)
        self.rows = node.type.shape[1] // self.groups
        self.maps = self.source.type.shape[1] // self.groups * phases.count
        self.depth = self.form.depth_of(self.maps)

    def operands(self) -> None:
        """Tell source and weights apart."""
        raise NotImplementedError

    def weight(self, panel: Panel, row: Expr, step: Expr) -> tuple[Expr, ...]:
        """Where the weight between a row and a source map lies among those transformed."""
        raise NotImplementedError

    def row_run(self) -> Run:
        """How they lie in memory."""
        raise NotImplementedError

    # ------------------------------------------------------------------------ launches

    def build(self) -> Built:
        w, panels, turns = self.w, self.phases.products, turns_of(self.node, self.phases)
        columns = max(turn.columns for turn in turns)
        self._filters = transform_weights(w, self.weights, self.phases)
        self._pixels = w.workspace(panels, self.groups * self.maps, columns, WARP)
        self._products = w.workspace(panels, self.groups * self.rows, columns, WARP)
        for self._turn in turns:
            transform_pixels(w, self.source, self._turn, self._pixels)
            self.sum()
            self._transform_back()
        return w.built(noalias=True)

    def _transform_back(self) -> None:
        """From sums of products to results, and what follows."""
        w, down, across = self.w, self.phases.down, self.phases.across
        with each_tile(w, self._turn, self.groups * self.rows) as (map, tile):
            results = w.local(down.size * across.size)

            def load(i: Expr, j: Expr) -> Expr:
                return self._products[self.phases.panel(i, j), map, tile.place(j), w.lane]

            def store(i: Expr, j: Expr, value: Expr) -> None:
                w.store(results, value, i * across.size + j)

            for kinds in tile.kinds(w):
                matrices = kinds[0].forward.output, kinds[1].forward.output
                transform(w, matrices, numbered(kinds, load), store)
            with w.unrolled(down.size) as i, w.unrolled(across.size) as j:
                self._write(tile, map, (i, j), results[i * across.size + j])

    def _write(self, tile: Tile, map: Expr, inner: tuple[Expr, Expr], result: Expr) -> None:
        """A result, if the tile has one there."""
        down, across = self.phases.down, self.phases.across
        pixel = down.start(tile.row) + inner[0], across.start(tile.column) + inner[1]
        images = self.node.type.shape[0]
        valid = down.lies(inner[0], tile.row) + across.lies(inner[1], tile.column)
        valid += (tile.block * WARP + self.w.lane < images,) if images % WARP else ()
        with when(self.w, valid):
            self._epilogue.write((tile.block, map, *pixel), lambda lane: result)

    # ------------------------------------------------------------------------ the product

    def size(self) -> Size:
        products, chunks = self.groups * self.phases.products, -(-self.maps // self.depth)
        return Size(products, self.rows, self._turn.columns, chunks, self.depth)

    def runs(self) -> tuple[Run, Run]:
        return self.row_run(), Run(flipped=False, width=self.form.width())

    def place(self, product: Expr, first: Expr, last: Expr) -> Panel:
        w, (down, across) = self.w, (self.phases.down, self.phases.across)
        group, i, j = w.indices(product, (self.groups, down.products, across.products))
        columns = w.fixed(self._turn.having(i, j))
        # A tile of columns that no product is in sums nothing.
        chunks = w.fixed(tirx.Select(first < columns, self.size().chunks, 0))
        return Panel(group, w.fixed(self.phases.panel(i, j)), columns, chunks)

    def chunks(self, place: Panel) -> Expr:
        return place.chunks

    def chunk(self, place: Panel, number: Expr) -> Chunk:
        first = number * self.depth

        def valid(step: Expr) -> tuple[Expr, ...]:
            return (first + step < self.maps,) if self.maps % self.depth else ()

        def row(step: Expr, row: Expr) -> Element:
            index = self.weight(place, row, first + step)
            return Element(self._filters, (place.number, *index), valid(step))

        def column(step: Expr, block: Expr, lane: Expr) -> Element:
            index = place.number, place.group * self.maps + first + step, block, lane
            return Element(self._pixels, index, valid(step))

        return Chunk(row, column)

    def _finish(self, place: Panel, row: Expr, block: Expr, total: Lane) -> None:
        map = place.group * self.rows + row
        with when(self.w, (block < place.columns,)):
            self._products.store(self.w, total(self.w.lane), place.number, map, block, self.w.lane)
