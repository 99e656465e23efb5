"""Locally connected layers and their gradients: a convolution with weights for every position."""

from tvm import tirx

from codegen.kernels.axis import Adjoint, Forward, Pair
from codegen.kernels.cuda.conv_dw import TapRows
from codegen.kernels.cuda.correlation import Correlation
from codegen.kernels.cuda.meeting import Met
from codegen.kernels.cuda.operand import Chunk, Run
from codegen.kernels.cuda.strip import Strip
from codegen.kernels.cuda.tile import Size
from codegen.kernels.cuda.writer import WARP
from codegen.loops import Expr


class Local(Correlation):
    """A locally connected layer and what follows it."""

    axis = Forward
    shared = False

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs

    def runs(self) -> tuple[Run, Run]:
        return Run(flipped=False, width=self.form.width()), self.column_run()

    def weight(self, strip: Strip, met: Met, row: Expr) -> tuple[Expr, ...]:
        block, lane = tirx.truncdiv(row, WARP), tirx.truncmod(row, WARP)
        return block, strip.y, strip.x, met.map, *met.tap, lane


class LocalDx(Correlation):
    """A locally connected layer's data gradient and what follows it."""

    axis = Adjoint
    shared = False

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs

    def runs(self) -> tuple[Run, Run]:
        return Run(flipped=True, width=self.form.width(self.maps)), self.column_run()

    def weight(self, strip: Strip, met: Met, row: Expr) -> tuple[Expr, ...]:
        block, lane = tirx.truncdiv(met.map, WARP), tirx.truncmod(met.map, WARP)
        r, s = met.number
        return block, strip.down.source(r), strip.across.source(s), row, *met.tap, lane


class LocalDw(TapRows[Pair]):
    """dw [maps, H, W, channels, kh, kw]; every pixel of dy has its own."""

    def size(self) -> Size:
        channels, height, width = self.taps
        products, blocks = self.down.results * self.across.results, self.w.blocks(self.node.type)
        return Size(products, channels * height * width, blocks, self.most, self.depth)

    def place(self, product: Expr, first: Expr, last: Expr) -> Pair:
        y, x = self.w.indices(product, (self.down.results, self.across.results))
        return y, x

    def chunk(self, place: Pair, number: Expr) -> Chunk:
        images = self.images(number)
        return Chunk(self.rows(images, place), self.columns(place, images, *place))

    def result(self, place: Pair, row: Expr, block: Expr) -> tuple[Expr, ...]:
        return block, *place, *self.w.indices(row, self.taps)
