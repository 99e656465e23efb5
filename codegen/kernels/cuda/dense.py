"""Dense layers and their gradients, each the product of two matrices."""

from functools import partial

from tvm import tirx

from codegen.kernels.cuda.images import HALF, ImageColumns, ImageSums
from codegen.kernels.cuda.product import Chunk
from codegen.kernels.cuda.stage import Element, Run, depth_of
from codegen.kernels.cuda.tile import Size
from codegen.kernels.cuda.writer import WARP, Built
from codegen.kernels.epilogue import anchor
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node


def dense(region: Graph, target: Cuda) -> Built | str:
    """The kernel of a dense layer and what follows it."""
    node = anchor(region, "dense")
    return node if isinstance(node, str) else _Dense(region, target, node).build()


def dense_dx(region: Graph, target: Cuda) -> Built | str:
    """The kernel of a dense layer's data gradient and what follows it."""
    node = anchor(region, "dense_dx")
    return node if isinstance(node, str) else _DenseDx(region, target, node).build()


def dense_dw(region: Graph, target: Cuda) -> Built | str:
    """The kernel of a dense layer's weight gradient and what follows it."""
    node = anchor(region, "dense_dw")
    return node if isinstance(node, str) else _DenseDw(region, target, node).build()


class _Features(ImageColumns[None]):
    """A result [N, features] of a source [N, steps]."""

    def __init__(self, region: Graph, target: Cuda, node: Node) -> None:
        super().__init__(region, target, node)
        self.operands()
        self.steps = self.source.type.shape[1]
        self.depth = depth_of(self.steps)

    def operands(self) -> None:
        """Tell source and weights apart."""
        raise NotImplementedError

    def weight(self, step: Expr, row: Expr) -> tuple[Expr, ...]:
        """Where the weight between a feature of the source and one of the result lies."""
        raise NotImplementedError

    def size(self) -> Size:
        features, blocks = self.node.type.shape[1], self.w.blocks(self.node.type)
        return Size(1, features, blocks, -(-self.steps // self.depth), self.depth)

    def place(self, product: Expr, first: Expr, last: Expr) -> None:
        return None

    def chunks(self, place: None) -> Expr:
        return -(-self.steps // self.depth)

    def chunk(self, place: None, number: Expr) -> Chunk:
        arrays, first = self.w.buffers, number * self.depth

        def element(node: Node, index: tuple[Expr, ...], step: Expr) -> Element:
            valid = (first + step < self.steps,) if self.steps % self.depth else ()
            return Element(arrays[node], index, valid)

        return Chunk(
            lambda step, row: element(self.weights, self.weight(first + step, row), step),
            lambda step, block, lane: element(self.source, (block, first + step, lane), step),
        )

    def result(self, place: None, row: Expr, block: Expr) -> tuple[Expr, ...]:
        return block, row


class _Dense(_Features):
    def operands(self) -> None:
        self.source, self.weights = self.node.inputs

    def runs(self) -> tuple[Run, Run]:
        return Run(flipped=False, width=4), Run(flipped=False, width=4)

    def weight(self, step: Expr, row: Expr) -> tuple[Expr, ...]:
        return tirx.truncdiv(row, WARP), step, tirx.truncmod(row, WARP)


class _DenseDx(_Features):
    def operands(self) -> None:
        self.weights, self.source = self.node.inputs

    def runs(self) -> tuple[Run, Run]:
        width = 1 if self.steps % 4 else 4
        return Run(flipped=True, width=width), Run(flipped=False, width=4)

    def weight(self, step: Expr, row: Expr) -> tuple[Expr, ...]:
        return tirx.truncdiv(step, WARP), row, tirx.truncmod(step, WARP)


class _DenseDw(ImageSums[None]):
    """dw [outputs, inputs] = dy^T x."""

    def size(self) -> Size:
        inputs, blocks = self.node.type.shape[1], self.w.blocks(self.node.type)
        return Size(1, inputs, blocks, self.most, HALF)

    def place(self, product: Expr, first: Expr, last: Expr) -> None:
        return None

    def chunk(self, place: None, number: Expr) -> Chunk:
        images = self.images(number)
        row = partial(self.element, self.x, images)
        return Chunk(row, self.columns(place, images))

    def result(self, place: None, row: Expr, block: Expr) -> tuple[Expr, ...]:
        return block, row
