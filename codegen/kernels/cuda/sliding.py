"""The weight gradient of a convolution, some pixels of a row of dy at a time.

Through the taps of a row of the window they meet pixels of x that are neighbours, most of them
through several taps: each is copied once. A product has these taps and some channels, as rows
[kw, channels]; what the next pixel of dy meets lies `stride` pixels of x further on. Pixels beyond
the row are zero, as boxes bring them.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from itertools import product

from codegen.kernels.axis import Pair
from codegen.kernels.cuda.conv_dw import ConvDw, Group
from codegen.kernels.cuda.images import Images, ImageSums
from codegen.kernels.cuda.operand import Chunk, Element, Run
from codegen.kernels.cuda.tensor import tma
from codegen.kernels.cuda.tensor.wgmma.lines import EIGHT
from codegen.kernels.cuda.tensor.wgmma.tile import HIGH, HIGHEST
from codegen.kernels.cuda.tile import Size
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node

PIXELS = range(2, 9)
"""Of a chunk."""


@dataclass(frozen=True)
class _Row(Group):
    """A group, the row of its window, and its first channel."""

    row: Expr
    channel: Expr


class SlidingDw(ConvDw):
    """`pixels` at a time, and `each` product has so many channels."""

    pixels = 1
    each = 0

    @classmethod
    def possible(cls, region: Graph, target: Cuda, node: Node) -> Iterator["SlidingDw"]:
        """All whose boxes are copied and have room, if pixels share any."""
        kernel = cls(region, target, node)
        channels, _, width = kernel.taps
        if width <= kernel.across.stride:
            return
        for pixels, each in product(PIXELS, range(EIGHT, channels + 1, EIGHT)):
            if channels % each == 0 and each <= tma.BOX and _fill(width * each):
                other = copy(kernel)
                other.pixels, other.each = pixels, each
                size = other.sized()
                if other.engine(size) is tma and tma.has_room(size):
                    yield other

    @property
    def positions(self) -> int:
        return self.down.results * self._strips

    @property
    def _strips(self) -> int:
        """Of a row of dy."""
        return -(-self.across.results // self.pixels)

    def runs(self) -> tuple[Run, Run]:
        rows, columns = ImageSums.runs(self)
        boxes = None if rows.boxes is None else self.each
        return replace(rows, boxes=boxes, whole=True), columns

    def size(self) -> Size:
        size, (channels, height, width) = super().size(), self.taps
        return replace(
            size,
            products=size.products * height * (channels // self.each),
            rows=width * self.each,
            taps=self.pixels,
            apart=(self.across.stride * self.each, 0),
        )

    def place(self, product: Expr, first: Expr, last: Expr) -> _Row:
        channels, height, _ = self.taps
        extents = self.groups, height, channels // self.each
        group, row, number = self.w.indices(product, extents)
        whole = super().place(group, first, last)
        return _Row(whole.index, whole.begin, whole.end, whole.block, row, number * self.each)

    def chunk(self, place: Group, number: Expr) -> Chunk:
        """Its steps are images of one pixel after another."""
        assert isinstance(place, _Row)
        images = self.images(number)
        y, x = self.pixel(images)
        first = place.index * self.taps[0] + place.channel

        def row(step: Expr, row: Expr) -> Element:
            s, channel = self.w.indices(row, (self.taps[2], self.each))
            return self.met(images, step, (y, x), first + channel, (place.row, s))

        def column(step: Expr, block: Expr, lane: Expr) -> Element:
            pixel, step = self.w.indices(step, (self.pixels, self.depth))
            return self.columns(place, images, y, x + pixel)(step, block, lane)

        return Chunk(row, column)

    def pixel(self, images: Images) -> Pair:
        y, strip = self.w.indices(images.position, (self.down.results, self._strips))
        return y, strip * self.pixels

    def result(self, place: Group, row: Expr, block: Expr) -> tuple[Expr, ...]:
        assert isinstance(place, _Row)
        s, channel = self.w.indices(row, (self.taps[2], self.each))
        return place.block + block, place.channel + channel, place.row, s


def _fill(rows: int) -> bool:
    """Whether they fill most of a tile."""
    return rows <= HIGHEST and rows > 0.7 * HIGH * -(-rows // HIGH)
