"""The weight gradient of a convolution: rows are channels and taps, what they meet beyond an image
counts as zero.
"""

from dataclasses import dataclass, replace
from math import gcd, prod

from tvm import tirx

from codegen.kernels.axis import Forward, Pair, axes, groups_of
from codegen.kernels.cuda.images import Images, ImageSums
from codegen.kernels.cuda.operand import At, Chunk, Element, Run
from codegen.kernels.cuda.product import Place
from codegen.kernels.cuda.tensor import tma
from codegen.kernels.cuda.tensor.wgmma.lines import EIGHT
from codegen.kernels.cuda.tensor.wgmma.tile import HIGHEST
from codegen.kernels.cuda.tile import Size
from codegen.kernels.cuda.writer import WARP
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node


class TapRows(ImageSums[Place]):
    """Rows [channels, kh, kw], of a convolution or a local layer."""

    def __init__(self, region: Graph, target: Cuda, node: Node) -> None:
        super().__init__(region, target, node)
        *_, self.channels, height, width = node.type.shape
        self.taps = self.channels, height, width
        sizes = self.dy.type.shape[2:], self.x.type.shape[2:], (height, width)
        self.down, self.across = axes(Forward, node, *sizes)

    def runs(self) -> tuple[Run, Run]:
        rows, columns = super().runs()
        # All maps and taps are one box; some of them are none.
        if prod(self.taps) <= HIGHEST and max(self.taps) <= tma.BOX:
            boxes = None if rows.boxes is None else prod(self.taps)
            return replace(rows, boxes=boxes, window=self.taps, whole=True), columns
        return replace(rows, boxes=None), columns

    def rows(self, images: Images, pixel: Pair, first: Expr = 0) -> At:
        """What rows meet of x, given a pixel of dy and the first channel."""

        def row(step: Expr, row: Expr) -> Element:
            channel, r, s = self.parts(row)
            return self.met(images, step, pixel, first + channel, (r, s))

        return row

    def parts(self, row: Expr) -> tuple[Expr, Expr, Expr]:
        """A row's channel and tap."""
        channel, r, s = self.w.indices(row, self.taps)
        return channel, r, s

    def met(self, images: Images, step: Expr, pixel: Pair, channel: Expr, tap: Pair) -> Element:
        """What a pixel of dy meets of x through a tap."""
        y = pixel[0] * self.down.stride + tap[0] - self.down.before
        x = pixel[1] * self.across.stride + tap[1] - self.across.before
        element = self.element(self.x, images, step, channel, y, x)
        return element.when(*self.down.inside(y), *self.across.inside(x))


@dataclass(frozen=True)
class Group:
    """A group and the maps begin .. end - 1 that it has; its first block of columns."""

    index: Expr
    begin: Expr
    end: Expr
    block: Expr


class ConvDw(TapRows[Group]):
    """dw [maps, channels, kh, kw]; a block of columns may have maps of several groups."""

    def __init__(self, region: Graph, target: Cuda, node: Node) -> None:
        super().__init__(region, target, node)
        self.groups = groups_of(node)
        self.maps = node.type.shape[0] // self.groups

    @property
    def positions(self) -> int:
        return self.down.results * self.across.results

    def size(self) -> Size:
        channels, height, width = self.taps
        blocks = max(
            -(-(group + 1) * self.maps // WARP) - group * self.maps // WARP
            for group in range(self.groups)
        )
        return Size(self.groups, channels * height * width, blocks, self.most, self.depth)

    def place(self, product: Expr, first: Expr, last: Expr) -> Group:
        begin = product * self.maps
        return Group(product, begin, begin + self.maps, tirx.truncdiv(begin, WARP))

    def chunk(self, place: Group, number: Expr) -> Chunk:
        images = self.images(number)
        pixel = self.pixel(images)
        rows = self.rows(images, pixel, place.index * self.channels)
        return Chunk(rows, self.columns(place, images, *pixel))

    def pixel(self, images: Images) -> Pair:
        """Of dy, at the images' position."""
        y, x = self.w.indices(images.position, (self.down.results, self.across.results))
        return y, x

    @property
    def together(self) -> int:
        return gcd(super().together, self.maps)

    def block(self, place: Group, block: Expr) -> Expr:
        return place.block + block

    def owned(self, place: Group, output: Expr) -> tuple[Expr, ...]:
        return () if self.maps % WARP == 0 else (place.begin <= output, output < place.end)

    def result(self, place: Group, row: Expr, block: Expr) -> tuple[Expr, ...]:
        return place.block + block, *self.parts(row)


class ConvDwInBoxes(ConvDw):
    """The same with rows [kh, kw, channels]: those of a tap lie in boxes."""

    @property
    def is_possible(self) -> bool:
        """Whether boxes are copied, and begin where patterns of lines do."""
        return self.channels % EIGHT == 0 and self.engine(self.sized()) is tma

    def runs(self) -> tuple[Run, Run]:
        rows, columns = ImageSums.runs(self)
        boxes = None if rows.boxes is None else self.channels
        return replace(rows, boxes=boxes), columns

    def parts(self, row: Expr) -> tuple[Expr, Expr, Expr]:
        channels, height, width = self.taps
        r, s, channel = self.w.indices(row, (height, width, channels))
        return channel, r, s
