"""What convolutions, local layers and their data gradients have in common: products for strips of
pixels of the result, summed over the taps that meet the source and over its maps.

Columns are pixels of a row that have the same taps, each for all images; rows are the maps. What
all pixels of a strip have in the padding is skipped, the rest counts as zero. Where there are few
maps, chunks run over maps and taps as one.
"""

from copy import copy
from dataclasses import replace
from math import inf, prod

from tvm import tirx

from codegen.kernels.axis import Axis, Forward, Taps, axes
from codegen.kernels.cuda.form import BF16
from codegen.kernels.cuda.images import ImageColumns
from codegen.kernels.cuda.meeting import AllTaps, Meeting, Met, OneTap, RowOfTaps
from codegen.kernels.cuda.operand import Chunk, Element
from codegen.kernels.cuda.strip import Strip, Strips
from codegen.kernels.cuda.tensor import tma
from codegen.kernels.cuda.tile import Size
from codegen.kernels.cuda.writer import WARP
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node

TOGETHER = 4
"""Blocks of images in a product whose pixels share columns, at most."""
SLID = 7
"""Taps that share columns, at most: so many have room in shared memory."""


class Correlation(ImageColumns[Strip]):
    """A result [N, groups * rows, H, W] of a source [N, groups * maps, H', W']."""

    axis: type[Axis]
    groups = 1
    shared = True
    """Whether pixels share weights."""
    slides: bool
    """Whether chunks have all taps of a row of the window, which share columns."""

    def __init__(self, region: Graph, target: Cuda, node: Node) -> None:
        super().__init__(region, target, node)
        self.operands()
        self.rows = node.type.shape[1] // self.groups
        self.geometry()
        # One weight serves all pixels of a product: those that have the same taps.
        apart = len(self.across.phases()) if self.shared else self.across.results
        self.images = self.w.blocks(node.type)
        self.slides = target.groups and self.form is BF16 and self.boxed and self._shift
        self.strips = Strips(self.across, apart, self.images)
        if self.slides:
            choices = [replace(self.strips, images=count) for count in together(self.images)]
            self.strips = min(choices, key=self._cost)

    def _cost(self, strips: Strips) -> float:
        """With products of other strips, if they have room."""
        other = copy(self)
        other.strips = strips
        return other.cost if tma.has_room(other.sized()) else inf

    def geometry(self) -> None:
        """Find what is summed: maps, and taps along two axes; and how many at once."""
        self.maps = self.source.type.shape[1] // self.groups
        results, sources = self.node.type.shape[2:], self.source.type.shape[2:]
        window = self.weights.type.shape[-2:]
        self.down, self.across = axes(self.axis, self.node, results, sources, window)
        # So few maps would fill only a part of a chunk.
        self.few = self.maps < self.form.depth // 2 and self.axis is Forward
        self.depth = self.form.depth_of(self.maps * (prod(window) if self.few else 1))

    @property
    def boxed(self) -> bool:
        """Whether boxes of its operands can be copied."""
        return False

    @property
    def _shift(self) -> bool:
        """Whether pixels meet through a tap what their neighbours meet through the next one."""
        several = self.across.results > 1 and self.across.window > 1
        return several and self.across.stride == 1 and self.across.window <= SLID

    def operands(self) -> None:
        """Tell source and weights apart."""
        raise NotImplementedError

    def weight(self, strip: Strip, met: Met, row: Expr) -> tuple[Expr, ...]:
        """Where the weight between a row and what a step meets lies."""
        raise NotImplementedError

    def pixel(self, strip: Strip, met: Met, y: Expr, x: Expr) -> tuple[Expr, ...]:
        """Where a pixel of the source that a step meets lies in an image."""
        return strip.group * self.maps + met.map, y, x

    # ------------------------------------------------------------------------ the product

    @property
    def _meeting(self) -> Meeting:
        kind = AllTaps if self.few else RowOfTaps if self.slides else OneTap
        return kind(self.w, (self.down, self.across), self.maps, self.depth)

    def size(self) -> Size:
        strips = self.strips
        products = self.images // strips.images * self.groups * self.down.results * strips.apart
        size = Size(products, self.rows, strips.blocks, self._meeting.usual, self.depth)
        taps = self.across.window
        return replace(size, taps=taps, apart=(0, strips.images * WARP)) if self.slides else size

    def place(self, product: Expr, first: Expr, last: Expr) -> Strip:
        images = self.strips.images
        extents = self.images // images, self.groups, self.down.results, self.strips.apart
        number, group, y, x = self.w.indices(product, extents)
        down, across = self.down.taps(y), self.strips.taps(x, first, last)
        return Strip(group, y, x, self._fixed(down), self._fixed(across), number * images)

    def _fixed(self, taps: Taps) -> Taps:
        w = self.w
        begin = w.fixed(taps.begin)
        return replace(taps, begin=begin, end=w.fixed(tirx.max(begin, taps.end)))

    def result(self, place: Strip, row: Expr, block: Expr) -> tuple[Expr, ...]:
        pixel = place.y, self.strips.pixel(place.x, block)
        return self._image(place, block), place.group * self.rows + row, *pixel

    def lanes(self, place: Strip, block: Expr) -> tuple[Expr, ...]:
        images = super().lanes(place, self._image(place, block))
        return self.strips.holds(place.x, block) + images

    def _image(self, place: Strip, block: Expr) -> Expr:
        return place.images + self.strips.image(block)

    # ------------------------------------------------------------------------ the chunks

    def chunks(self, place: Strip) -> Expr:
        return self._meeting.chunks(place)

    def chunk(self, place: Strip, number: Expr) -> Chunk:
        """Its factors; what lies beyond the image is zero."""
        meet = self._meeting.steps(place, number)

        def row(step: Expr, row: Expr) -> Element:
            met = meet(step)
            array = self.w.buffers[self.weights]
            return Element(array, self.weight(place, met, row), met.valid)

        def column(step: Expr, block: Expr, lane: Expr) -> Element:
            met = meet(step)
            y = place.down.source(met.number[0])
            x = self.strips.source(place.x, block, met.number[1])
            index = (self._image(place, block), *self.pixel(place, met, y, x), lane)
            valid = (*met.valid, *self._inside(y, x))
            return Element(self.w.buffers[self.source], index, valid)

        return Chunk(row, column)

    def _inside(self, y: Expr, x: Expr) -> tuple[Expr, ...]:
        """What must hold for a pixel that is met to lie in the image."""
        down = self.down.inside(y) if self.few else ()
        return down + (self.across.inside(x) if self.few or self.strips.pixels > 1 else ())


def together(images: int) -> list[int]:
    """How many blocks of images a product may have: few, so that tiles have several pixels."""
    return [count for count in range(1, TOGETHER + 1) if images % count == 0]
