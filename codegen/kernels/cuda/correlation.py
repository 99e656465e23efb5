"""What convolutions, local layers and their data gradients have in common: one product for every
pixel of the result, summed over the taps that meet a pixel of the source and over its maps.

Padding is skipped. Where there are few maps, chunks run over maps and taps as one, and what lies in
the padding counts as zero.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from codegen.kernels.axis import Axis, Forward, Taps, axes
from codegen.kernels.cuda.images import ImageColumns
from codegen.kernels.cuda.product import Chunk
from codegen.kernels.cuda.stage import Element, depth_of
from codegen.kernels.cuda.tile import Size
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node

FEW = 8
"""Maps that would fill only a part of a chunk."""

Pair = tuple[Expr, Expr]
"""Down and across."""


@dataclass(frozen=True)
class Pixel:
    """A pixel of the result, in a group of maps, and the taps that meet the source."""

    group: Expr
    y: Expr
    x: Expr
    down: Taps
    across: Taps


@dataclass(frozen=True)
class Met:
    """What a step meets: a map of the source within the group, through a tap, at a pixel.

    `valid` must hold for there to be such a step, `inside` for the pixel to lie in the image.
    """

    map: Expr
    tap: Pair
    pixel: Pair
    valid: tuple[Expr, ...]
    inside: tuple[Expr, ...] = ()


class Correlation(ImageColumns[Pixel]):
    """A result [N, groups * rows, H, W] of a source [N, groups * maps, H', W']."""

    axis: type[Axis]
    groups = 1

    def __init__(self, region: Graph, target: Cuda, node: Node) -> None:
        super().__init__(region, target, node)
        self.operands()
        self.rows = node.type.shape[1] // self.groups
        self.maps = self.source.type.shape[1] // self.groups
        self.window = self.weights.type.shape[-2:]
        images = self.source.type.shape[2:]
        self.down, self.across = axes(self.axis, node, node.type.shape[2:], images, self.window)
        self.few = self.maps < FEW and self.axis is Forward
        self.depth = depth_of(self._taps * self.maps if self.few else self.maps)

    def operands(self) -> None:
        """Tell source and weights apart."""
        raise NotImplementedError

    def weight(self, pixel: Pixel, met: Met, row: Expr) -> tuple[Expr, ...]:
        """Where the weight between a row and what a step meets lies."""
        raise NotImplementedError

    # ------------------------------------------------------------------------ the product

    @property
    def _taps(self) -> int:
        return self.window[0] * self.window[1]

    @property
    def _chunks_of_maps(self) -> int:
        return -(-self.maps // self.depth)

    def size(self) -> Size:
        height, width = self.node.type.shape[2:]
        products, blocks = self.groups * height * width, self.w.blocks(self.node.type)
        return Size(products, self.rows, blocks, self._most_chunks(), self.depth)

    def _most_chunks(self) -> int:
        if self.few:
            return -(-self._taps * self.maps // self.depth)
        stride = 1 if self.axis is Forward else self.down.stride * self.across.stride
        return -(-self._taps // stride) * self._chunks_of_maps

    def place(self, product: Expr) -> Pixel:
        w, (height, width) = self.w, self.node.type.shape[2:]
        group, y, x = w.indices(product, (self.groups, height, width))
        return Pixel(group, y, x, self._fixed(self.down.taps(y)), self._fixed(self.across.taps(x)))

    def _fixed(self, taps: Taps) -> Taps:
        w = self.w
        begin = w.fixed(taps.begin)
        return Taps(begin, w.fixed(tirx.max(begin, taps.end)), taps.tap, taps.source)

    def result(self, place: Pixel, row: Expr, block: Expr) -> tuple[Expr, ...]:
        return block, place.group * self.rows + row, place.y, place.x

    # ------------------------------------------------------------------------ the chunks

    def chunks(self, place: Pixel) -> Expr:
        if self.few:
            return self._most_chunks()
        down, across = place.down, place.across
        return (down.end - down.begin) * (across.end - across.begin) * self._chunks_of_maps

    def chunk(self, place: Pixel, number: Expr) -> Chunk:
        meet = self._meet_all(place, number) if self.few else self._meet_tap(place, number)

        def row(step: Expr, row: Expr) -> Element:
            met = meet(step)
            array = self.w.buffers[self.weights]
            return Element(array, self.weight(place, met, row), met.valid)

        def column(step: Expr, block: Expr, lane: Expr) -> Element:
            met = meet(step)
            index = (block, place.group * self.maps + met.map, *met.pixel, lane)
            return Element(self.w.buffers[self.source], index, (*met.valid, *met.inside))

        return Chunk(row, column)

    def _meet_tap(self, place: Pixel, number: Expr) -> Callable[[Expr], Met]:
        """A chunk of the maps that are met through one tap."""
        w, down, across = self.w, place.down, place.across
        tap = w.fixed(tirx.truncdiv(number, self._chunks_of_maps))
        first = tirx.truncmod(number, self._chunks_of_maps) * self.depth
        width = across.end - across.begin
        r = w.fixed(down.begin + tirx.truncdiv(tap, width))
        s = w.fixed(across.begin + tirx.truncmod(tap, width))

        def meet(step: Expr) -> Met:
            valid = (first + step < self.maps,) if self.maps % self.depth else ()
            taps, pixel = (down.tap(r), across.tap(s)), (down.source(r), across.source(s))
            return Met(first + step, taps, pixel, valid)

        return meet

    def _meet_all(self, place: Pixel, number: Expr) -> Callable[[Expr], Met]:
        """A chunk of all maps and taps."""
        first, total = number * self.depth, self.maps * self._taps

        def meet(step: Expr) -> Met:
            channel, r, s = self.w.indices(first + step, (self.maps, *self.window))
            y = place.y * self.down.stride + r - self.down.before
            x = place.x * self.across.stride + s - self.across.before
            valid = (first + step < total,) if total % self.depth else ()
            reached = inside(self.down, y) + inside(self.across, x)
            return Met(channel, (r, s), (y, x), valid, reached)

        return meet


def inside(axis: Axis, pixel: Expr) -> tuple[Expr, ...]:
    """What must hold for a pixel to lie in the image."""
    begin = () if axis.before == 0 else (pixel >= 0,)
    reach = (axis.results - 1) * axis.stride + axis.window - axis.before
    return begin if reach <= axis.sources else (*begin, pixel < axis.sources)
