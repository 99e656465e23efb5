"""The weight gradient of a convolution by minimal filtering: dy is the taps, dw the result.

In turns, tiles of pixels and of dy are transformed, and their products are added up over tiles and
images, one matrix for each place in a tile. The sums of all turns are transformed back.
"""

from dataclasses import replace

from tvm import tirx

from codegen.kernels.cuda.operand import Chunk, Element, Run, when
from codegen.kernels.cuda.product import Product
from codegen.kernels.cuda.tile import Size
from codegen.kernels.cuda.winograd.cotangents import transform_cotangents
from codegen.kernels.cuda.winograd.maps import flops, maps_of
from codegen.kernels.cuda.winograd.pixels import transform_pixels
from codegen.kernels.cuda.winograd.turn import Panel, Turn, turns_of
from codegen.kernels.cuda.winograd.weights import transform_weights_back
from codegen.kernels.cuda.writer import WARP, Built
from codegen.kernels.memory import Scratch
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node


class ConvDw(Product[Panel]):
    """dw [maps, channels, kh, kw]; rows are source maps, of which each phase counts as one, columns
    are maps of dy."""

    _pixels: Scratch
    _cotangents: Scratch
    _sums: Scratch
    _turn: Turn
    _again: bool

    def __init__(self, region: Graph, target: Cuda, node: Node, phases: Phases) -> None:
        super().__init__(region, target, node)
        self.phases, self.maps = phases, maps_of(node, phases)

    def build(self) -> Built:
        """Both operands are transformed, multiplied, and their sums transformed back."""
        w, maps, (x, dy) = self.w, self.maps, self.node.inputs
        turns = turns_of(self.node, self.phases)
        panels, columns = self.phases.products, max(turn.columns for turn in turns)
        self._pixels = w.workspace(panels, maps.groups * maps.sources, columns, WARP)
        self._cotangents = w.workspace(panels, maps.groups * maps.results, columns, WARP)
        self._sums = w.workspace(panels, maps.sources, w.blocks(self.node.type) * WARP)
        for number, self._turn in enumerate(turns):
            self._again = number > 0
            transform_pixels(w, x, self._turn, self._pixels)
            transform_cotangents(w, dy, self._turn, self._cotangents)
            self.sum()
        transform_weights_back(w, self.node, self._sums, self.phases, self._epilogue)
        return replace(w.built(noalias=True), flops=flops(self.node, self.phases))

    # ------------------------------------------------------------------------ the product

    def size(self) -> Size:
        return self._turn.size_of_gradient(self.maps)

    def runs(self) -> tuple[Run, Run]:
        run = Run(flipped=True, width=self.form.width())
        return run, run

    def place(self, product: Expr, first: Expr, last: Expr) -> Panel:
        parts = WARP // self.size().depth
        return self._turn.panel(self.w, self.maps, product, lambda columns: columns * parts)

    def chunks(self, place: Panel) -> Expr:
        return place.chunks

    def chunk(self, place: Panel, number: Expr) -> Chunk:
        """Of transformed operands, which lie in the workspace."""
        maps, depth = self.maps, self.size().depth
        tile, part = self.w.indices(number, (place.columns, WARP // depth))
        first = part * depth

        def row(step: Expr, row: Expr) -> Element:
            map = place.group * maps.sources + row
            return Element(self._pixels, (place.number, map, tile, first + step))

        def column(step: Expr, block: Expr, lane: Expr) -> Element:
            output = self._output(place, block, lane)
            index = place.number, output, tile, first + step
            return Element(self._cotangents, index, self._owned(place, output))

        return Chunk(row, column)

    def _output(self, place: Panel, block: Expr, lane: Expr) -> Expr:
        """A map of dy; a block of them may have maps of several groups."""
        begin = place.group * self.maps.results
        return (tirx.truncdiv(begin, WARP) + block) * WARP + lane

    def _owned(self, place: Panel, output: Expr) -> tuple[Expr, ...]:
        """What must hold for it to be one of the group's."""
        begin, results = place.group * self.maps.results, self.maps.results
        return () if results % WARP == 0 else (begin <= output, output < begin + results)

    def _finish(self, place: Panel, row: Expr, block: Expr, total: Lane) -> None:
        """Add a turn's sum to those before it."""
        w, output = self.w, self._output(place, block, self.w.lane)
        at, value = (place.number, row, output), total(self.w.lane)
        with when(w, self._owned(place, output)):
            self._sums.store(w, self._sums[at] + value if self._again else value, *at)
