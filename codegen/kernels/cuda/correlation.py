"""What convolutions, local layers and their data gradients have in common: products for strips of
pixels of the result, summed over the taps that meet the source and over its maps.

Columns are pixels of a row that have the same taps, each for all images; rows are the maps. What
all pixels of a strip have in the padding is skipped, the rest counts as zero. Where there are few
maps, chunks run over maps and taps as one.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from math import inf

from tvm import tirx

from codegen.kernels.axis import Axis, Forward, Taps, axes
from codegen.kernels.cuda.form import BF16
from codegen.kernels.cuda.images import ImageColumns
from codegen.kernels.cuda.operand import Chunk, Element
from codegen.kernels.cuda.strip import Strips
from codegen.kernels.cuda.tensor import tma
from codegen.kernels.cuda.tile import Size
from codegen.kernels.cuda.writer import WARP
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node

Pair = tuple[Expr, Expr]
"""Down and across."""
TOGETHER = 4
"""Blocks of images in a product whose pixels share columns, at most."""
SLID = 7
"""Taps that share columns, at most: so many have room in shared memory."""


@dataclass(frozen=True)
class Strip:
    """Pixels of a row of the result in a group of maps, from column x on, and all the taps through
    which one of them meets the source; and the first of its blocks of images."""

    group: Expr
    y: Expr
    x: Expr
    down: Taps
    across: Taps
    images: Expr


@dataclass(frozen=True)
class Met:
    """What a step meets: a map of the source within the group, through a tap, and its number.

    `valid` must hold for there to be such a step.
    """

    map: Expr
    tap: Pair
    number: Pair
    valid: tuple[Expr, ...]


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
        self.window = self.weights.type.shape[-2:]
        results, sources = self.node.type.shape[2:], self.source.type.shape[2:]
        self.down, self.across = axes(self.axis, self.node, results, sources, self.window)
        # So few maps would fill only a part of a chunk.
        self.few = self.maps < self.form.depth // 2 and self.axis is Forward
        self.depth = self.form.depth_of(self._taps * self.maps if self.few else self.maps)

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
    def _taps(self) -> int:
        return self.window[0] * self.window[1]

    @property
    def _chunks_of_maps(self) -> int:
        return -(-self.maps // self.depth)

    def size(self) -> Size:
        strips = self.strips
        products = self.images // strips.images * self.groups * self.down.results * strips.apart
        size = Size(products, self.rows, strips.blocks, self._most_chunks(), self.depth)
        taps = self.across.window
        return replace(size, taps=taps, apart=(0, strips.images * WARP)) if self.slides else size

    def _most_chunks(self) -> int:
        if self.few:
            return -(-self._taps * self.maps // self.depth)
        if self.slides:
            return self.window[0] * self._chunks_of_maps
        stride = 1 if self.axis is Forward else self.down.stride * self.across.stride
        return -(-self._taps // stride) * self._chunks_of_maps

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
        if self.few:
            return self._most_chunks()
        down, across = place.down, place.across
        taps = 1 if self.slides else across.end - across.begin
        return (down.end - down.begin) * taps * self._chunks_of_maps

    def chunk(self, place: Strip, number: Expr) -> Chunk:
        """Of maps through a tap, through all taps of a row, or of all maps and taps."""
        if self.few:
            meet = self._meet_all(number)
        else:
            meet = self._meet_row(place, number) if self.slides else self._meet_tap(place, number)

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
        down = inside(self.down, y) if self.few else ()
        return down + (inside(self.across, x) if self.few or self.strips.pixels > 1 else ())

    def _meet_tap(self, place: Strip, number: Expr) -> Callable[[Expr], Met]:
        """A chunk of the maps that are met through one tap."""
        w, down, across = self.w, place.down, place.across
        tap = w.fixed(tirx.truncdiv(number, self._chunks_of_maps))
        first = tirx.truncmod(number, self._chunks_of_maps) * self.depth
        width = across.end - across.begin
        r = w.fixed(down.begin + tirx.truncdiv(tap, width))
        s = w.fixed(across.begin + tirx.truncmod(tap, width))
        taps = down.tap(r), across.tap(s)

        def meet(step: Expr) -> Met:
            valid = (first + step < self.maps,) if self.maps % self.depth else ()
            return Met(first + step, taps, (r, s), valid)

        return meet

    def _meet_row(self, place: Strip, number: Expr) -> Callable[[Expr], Met]:
        """A chunk of the maps that are met through all taps of a row of the window, those first
        that meet the first pixels."""
        w, down, last = self.w, place.down, self.across.window - 1
        first = tirx.truncmod(number, self._chunks_of_maps) * self.depth
        r = w.fixed(down.begin + tirx.truncdiv(number, self._chunks_of_maps))

        def meet(step: Expr) -> Met:
            tap, step = tirx.truncdiv(step, self.depth), tirx.truncmod(step, self.depth)
            s = tap if self.axis is Forward else last - tap
            return Met(first + step, (down.tap(r), s), (r, s), ())

        return meet

    def _meet_all(self, number: Expr) -> Callable[[Expr], Met]:
        """A chunk of all maps and taps."""
        first, total = number * self.depth, self.maps * self._taps

        def meet(step: Expr) -> Met:
            channel, r, s = self.w.indices(first + step, (self.maps, *self.window))
            valid = (first + step < total,) if total % self.depth else ()
            return Met(channel, (r, s), (r, s), valid)

        return meet


def together(images: int) -> list[int]:
    """How many blocks of images a product may have: few, so that tiles have several pixels."""
    return [count for count in range(1, TOGETHER + 1) if images % count == 0]


def inside(axis: Axis, pixel: Expr) -> tuple[Expr, ...]:
    """What must hold for a pixel of the source to lie in the image."""
    if not isinstance(axis, Forward):
        return pixel >= 0, pixel < axis.sources
    begin = () if axis.before == 0 else (pixel >= 0,)
    reach = (axis.results - 1) * axis.stride + axis.window - axis.before
    return begin if reach <= axis.sources else (*begin, pixel < axis.sources)
