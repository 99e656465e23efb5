"""Dense layers and their gradients, each the product of two matrices."""

from functools import partial

from tvm import tirx

from codegen.kernels.cuda.images import ImageColumns, ImageSums
from codegen.kernels.cuda.operand import Chunk, Element, Run, is_kept
from codegen.kernels.cuda.tile import Size
from codegen.kernels.cuda.writer import WARP
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node


class _Features(ImageColumns[None]):
    """A result [N, features] of a source [N, steps]."""

    def __init__(self, region: Graph, target: Cuda, node: Node) -> None:
        super().__init__(region, target, node)
        self.operands()
        self.steps = self.source.type.shape[1]
        self.depth = self.form.depth_of(self.steps)

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


class Dense(_Features):
    """A dense layer and what follows it."""

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs

    def runs(self) -> tuple[Run, Run]:
        return Run(flipped=False, width=self.form.width(), boxes=0), self.column_run(boxes=0)

    def weight(self, step: Expr, row: Expr) -> tuple[Expr, ...]:
        return tirx.truncdiv(row, WARP), step, tirx.truncmod(row, WARP)


class DenseDx(_Features):
    """A dense layer's data gradient and what follows it."""

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs

    def runs(self) -> tuple[Run, Run]:
        boxes = 0 if self.steps % self.depth == 0 or is_kept(self.weights) else None
        rows = Run(flipped=True, width=self.form.width(self.steps), boxes=boxes)
        return rows, self.column_run(boxes=0)

    def weight(self, step: Expr, row: Expr) -> tuple[Expr, ...]:
        return tirx.truncdiv(step, WARP), row, tirx.truncmod(step, WARP)


class DenseDw(ImageSums[None]):
    """dw [outputs, inputs] = dy^T x."""

    def size(self) -> Size:
        inputs, blocks = self.node.type.shape[1], self.w.blocks(self.node.type)
        return Size(1, inputs, blocks, self.most, self.depth)

    def place(self, product: Expr, first: Expr, last: Expr) -> None:
        return None

    def chunk(self, place: None, number: Expr) -> Chunk:
        images = self.images(number)
        row = partial(self.element, self.x, images)
        return Chunk(row, self.columns(place, images))

    def result(self, place: None, row: Expr, block: Expr) -> tuple[Expr, ...]:
        return block, row
