"""A convolution, or the data gradient of one, by minimal filtering: a lane is an image.

Weights are transformed once. Then come turns, each some tiles of some images: pixels are
transformed, the products of all tiles are added up over the source maps, one matrix for each place
in a tile, and the sums are transformed back.
"""

from dataclasses import replace

from tvm import tirx

from codegen.kernels.cuda.operand import Chunk, Element, Run, when
from codegen.kernels.cuda.product import Product
from codegen.kernels.cuda.tile import Size
from codegen.kernels.cuda.winograd.maps import flops, maps_of, source_of, weights_of
from codegen.kernels.cuda.winograd.pixels import transform_pixels
from codegen.kernels.cuda.winograd.results import transform_back
from codegen.kernels.cuda.winograd.turn import Panel, Turn, turns_of
from codegen.kernels.cuda.winograd.weights import transform_weights
from codegen.kernels.cuda.writer import WARP, Built
from codegen.kernels.memory import Scratch
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node


class Correlation(Product[Panel]):
    """A result of a source; where there are strides, each phase of a source map counts as one.

    Rows are maps of the result, columns tiles and images.
    """

    _filters: Scratch
    _pixels: Scratch
    _products: Scratch
    _turn: Turn

    def __init__(self, region: Graph, target: Cuda, node: Node, phases: Phases) -> None:
        super().__init__(region, target, node)
        self.phases, self.maps = phases, maps_of(node, phases)

    def weight(self, panel: Panel, row: Expr, step: Expr) -> tuple[Expr, ...]:
        """Where the weight between a row and a source map lies among those transformed."""
        raise NotImplementedError

    def row_run(self) -> Run:
        """How they lie in memory."""
        raise NotImplementedError

    # ------------------------------------------------------------------------ launches

    def build(self) -> Built:
        w, maps, turns = self.w, self.maps, turns_of(self.node, self.phases)
        panels, columns = self.phases.products, max(turn.columns for turn in turns)
        self._filters = transform_weights(w, weights_of(self.node), self.phases)
        self._pixels = w.workspace(panels, maps.groups * maps.sources, columns, WARP)
        self._products = w.workspace(panels, maps.groups * maps.results, columns, WARP)
        for self._turn in turns:
            transform_pixels(w, source_of(self.node), self._turn, self._pixels)
            self.sum()
            transform_back(w, self.node, self._products, self._turn, self._epilogue)
        return replace(w.built(noalias=True), flops=flops(self.node, self.phases))

    # ------------------------------------------------------------------------ the product

    def size(self) -> Size:
        return self._turn.size(self.maps)

    def runs(self) -> tuple[Run, Run]:
        return self.row_run(), Run(flipped=False, width=self.form.width())

    def place(self, product: Expr, first: Expr, last: Expr) -> Panel:
        chunks = self.size().chunks
        # A tile of columns that have no such product sums nothing.
        return self._turn.panel(
            self.w, self.maps, product, lambda columns: tirx.Select(first < columns, chunks, 0)
        )

    def chunks(self, place: Panel) -> Expr:
        return place.chunks

    def chunk(self, place: Panel, number: Expr) -> Chunk:
        """Of transformed operands, which lie in the workspace."""
        depth = self.size().depth
        first = number * depth

        def valid(step: Expr) -> tuple[Expr, ...]:
            return (first + step < self.maps.sources,) if self.maps.sources % depth else ()

        def row(step: Expr, row: Expr) -> Element:
            index = self.weight(place, row, first + step)
            return Element(self._filters, (place.number, *index), valid(step))

        def column(step: Expr, block: Expr, lane: Expr) -> Element:
            index = place.number, place.group * self.maps.sources + first + step, block, lane
            return Element(self._pixels, index, valid(step))

        return Chunk(row, column)

    def _finish(self, place: Panel, row: Expr, block: Expr, total: Lane) -> None:
        map = place.group * self.maps.results + row
        with when(self.w, (block < place.columns,)):
            self._products.store(self.w, total(self.w.lane), place.number, map, block, self.w.lane)
