"""Weight gradients of convolutions and local layers: rows are maps of the source and taps.

What lies in the padding counts as zero.
"""

from dataclasses import dataclass

from tvm import tirx

from codegen.kernels.axis import Forward, axes, groups_of
from codegen.kernels.cuda.correlation import inside
from codegen.kernels.cuda.images import HALF, Images, ImageSums
from codegen.kernels.cuda.product import Chunk, Place
from codegen.kernels.cuda.stage import Element
from codegen.kernels.cuda.tile import Size
from codegen.kernels.cuda.writer import WARP, Built
from codegen.kernels.epilogue import anchor
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node


def conv_dw(region: Graph, target: Cuda) -> Built | str:
    """The kernel of a convolution's weight gradient and what follows it."""
    node = anchor(region, "conv_dw")
    return node if isinstance(node, str) else _ConvDw(region, target, node).build()


def local_dw(region: Graph, target: Cuda) -> Built | str:
    """The kernel of a local layer's weight gradient and what follows it."""
    node = anchor(region, "local_dw")
    return node if isinstance(node, str) else _LocalDw(region, target, node).build()


class _Taps(ImageSums[Place]):
    """Rows [channels, kh, kw]."""

    def __init__(self, region: Graph, target: Cuda, node: Node) -> None:
        super().__init__(region, target, node)
        *_, self.channels, height, width = node.type.shape
        self.taps = self.channels, height, width
        sizes = self.dy.type.shape[2:], self.x.type.shape[2:], (height, width)
        self.down, self.across = axes(Forward, node, *sizes)

    def pixel(self, images: Images, step: Expr, row: Expr, first: Expr, y: Expr, x: Expr) -> Element:
        """What a row meets of x, given its first channel and the pixel of dy."""
        channel, r, s = self.w.indices(row, self.taps)
        y = y * self.down.stride + r - self.down.before
        x = x * self.across.stride + s - self.across.before
        element = self.element(self.x, images, step, first + channel, y, x)
        return element.when(*inside(self.down, y), *inside(self.across, x))


@dataclass(frozen=True)
class _Group:
    """A group and the maps begin .. end - 1 that it has; its first block of columns."""

    index: Expr
    begin: Expr
    end: Expr
    block: Expr


class _ConvDw(_Taps[_Group]):
    """dw [maps, channels, kh, kw]; a block of columns may have maps of several groups."""

    def __init__(self, region: Graph, target: Cuda, node: Node) -> None:
        super().__init__(region, target, node)
        self.groups = groups_of(node)
        self.maps = node.type.shape[0] // self.groups
        self.positions = self.down.results * self.across.results

    @property
    def _whole(self) -> bool:
        """Whether all blocks of columns are full of one group's maps."""
        return self.maps % WARP == 0

    def size(self) -> Size:
        channels, height, width = self.taps
        blocks = max(
            -(-(group + 1) * self.maps // WARP) - group * self.maps // WARP
            for group in range(self.groups)
        )
        return Size(self.groups, channels * height * width, blocks, self.most, HALF)

    def place(self, product: Expr) -> _Group:
        begin = product * self.maps
        return _Group(product, begin, begin + self.maps, tirx.truncdiv(begin, WARP))

    def chunk(self, place: _Group, number: Expr) -> Chunk:
        images = self.images(number)
        y, x = self.w.indices(images.position, (self.down.results, self.across.results))
        first = place.index * self.channels

        def column(step: Expr, block: Expr, lane: Expr) -> Element:
            own = (place.block + block) * WARP + lane
            return self.element(self.dy, images, step, own, y, x).when(*self._owned(place, own))

        return Chunk(lambda step, row: self.pixel(images, step, row, first, y, x), column)

    def result(self, place: _Group, row: Expr, block: Expr) -> tuple[Expr, ...]:
        return place.block + block, *self.w.indices(row, self.taps)

    def lanes(self, place: _Group, block: Expr) -> tuple[Expr, ...]:
        return self._owned(place, (place.block + block) * WARP + self.w.lane)

    def _owned(self, place: _Group, own: Expr) -> tuple[Expr, ...]:
        return () if self._whole else (place.begin <= own, own < place.end)


@dataclass(frozen=True)
class _Position:
    """A pixel of dy."""

    y: Expr
    x: Expr


class _LocalDw(_Taps[_Position]):
    """dw [maps, H, W, channels, kh, kw]; every position has its own."""

    def size(self) -> Size:
        channels, height, width = self.taps
        products, blocks = self.down.results * self.across.results, self.w.blocks(self.node.type)
        return Size(products, channels * height * width, blocks, self.most, HALF)

    def place(self, product: Expr) -> _Position:
        return _Position(*self.w.indices(product, (self.down.results, self.across.results)))

    def chunk(self, place: _Position, number: Expr) -> Chunk:
        images = self.images(number)

        def column(step: Expr, block: Expr, lane: Expr) -> Element:
            own = block * WARP + lane
            element = self.element(self.dy, images, step, own, place.y, place.x)
            return element.when(*self._owned(own))

        return Chunk(lambda step, row: self.pixel(images, step, row, 0, place.y, place.x), column)

    def result(self, place: _Position, row: Expr, block: Expr) -> tuple[Expr, ...]:
        return block, place.y, place.x, *self.w.indices(row, self.taps)

    def lanes(self, place: _Position, block: Expr) -> tuple[Expr, ...]:
        return self._owned(block * WARP + self.w.lane)

    def _owned(self, own: Expr) -> tuple[Expr, ...]:
        maps = self.node.type.shape[0]
        return (own < maps,) if maps % WARP else ()
