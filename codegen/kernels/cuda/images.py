"""How images take part in a contraction: as columns of its result, or as steps of its sums."""

from dataclasses import dataclass
from math import gcd

from codegen.kernels.cuda.operand import Column, Element, Run
from codegen.kernels.cuda.product import Place, Product
from codegen.kernels.cuda.writer import WARP
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node

TOGETHER = 4
"""Lanes that a thread finishes at once, at most: 16 bytes of sums."""


class ImageColumns(Product[Place]):
    """A result [N, ...] of a source [N, ...] and weights."""

    source: Node
    weights: Node

    def column_run(self, boxes: int | None = None) -> Run:
        """How images lie in memory."""
        return Run(flipped=False, width=self.form.width(), boxes=boxes)

    @property
    def together(self) -> int:
        return gcd(TOGETHER, self.node.type.shape[0])

    def lanes(self, place: Place, block: Expr) -> tuple[Expr, ...]:
        images = self.node.type.shape[0]
        return (block * WARP + self.w.lane < images,) if images % WARP else ()


@dataclass(frozen=True)
class Images:
    """Some images of a block, from lane `first` on, met at a position."""

    block: Expr
    position: Expr
    first: Expr


class ImageSums(Product[Place]):
    """A result [O, ...]: the sum over all images, and some `positions` in each, of a row's pixel
    of x and a column's element of dy."""

    def __init__(self, region: Graph, target: Cuda, node: Node) -> None:
        super().__init__(region, target, node)
        self.x, self.dy = node.inputs
        self.count = self.x.type.shape[0]

    def runs(self) -> tuple[Run, Run]:
        boxes = None if self.count % WARP else 0
        run = Run(flipped=True, width=self.form.width(self.count), boxes=boxes)
        return run, run

    @property
    def positions(self) -> int:
        """Of an image, each with chunks of its own."""
        return 1

    @property
    def depth(self) -> int:
        """How many images a chunk sums over."""
        return self.form.depth

    @property
    def most(self) -> int:
        """How many chunks there are."""
        return self.w.blocks(self.x.type) * self.positions * (WARP // self.depth)

    def chunks(self, place: Place) -> Expr:
        return self.most

    def images(self, number: Expr) -> Images:
        """What a chunk sums over."""
        extents = self.w.blocks(self.x.type), self.positions, WARP // self.depth
        block, position, number = self.w.indices(number, extents)
        return Images(block, position, number * self.depth)

    def element(self, node: Node, images: Images, step: Expr, *index: Expr) -> Element:
        """Of x or dy in an image, by its index along axis 1 and so on."""
        lane = images.first + step
        valid = (images.block * WARP + lane < self.count,) if self.count % WARP else ()
        return Element(self.w.buffers[node], (images.block, *index, lane), valid)

    # ------------------------------------------------------------------------ columns

    def block(self, place: Place, block: Expr) -> Expr:
        """Which block of the result a product's block of columns is."""
        return block

    def owned(self, place: Place, output: Expr) -> tuple[Expr, ...]:
        """What must hold for an output to be one of the product's."""
        outputs = self.node.type.shape[0]
        return (output < outputs,) if outputs % WARP else ()

    @property
    def together(self) -> int:
        return gcd(TOGETHER, self.node.type.shape[0])

    def lanes(self, place: Place, block: Expr) -> tuple[Expr, ...]:
        return self.owned(place, self.block(place, block) * WARP + self.w.lane)

    def columns(self, place: Place, images: Images, *pixel: Expr) -> Column:
        """The elements of dy at one of its pixels."""

        def column(step: Expr, block: Expr, lane: Expr) -> Element:
            output = self.block(place, block) * WARP + lane
            element = self.element(self.dy, images, step, output, *pixel)
            return element.when(*self.owned(place, output))

        return column
