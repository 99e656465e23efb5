"""Softmax, cross entropy and accuracy: a block takes the images of a warp, its warps the classes.

What is found out about every image lies in the workspace; the results follow from it element by
element. Means over images are added by block of images, in order.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from tvm import tirx

from codegen.kernels.attributes import integer
from codegen.kernels.cuda.block import Block, total
from codegen.kernels.cuda.position import Position
from codegen.kernels.cuda.writer import WARP, Maker, Writer
from codegen.kernels.math import exp, f32, log
from codegen.kernels.memory import Scratch
from codegen.kernels.writer import Lane, Rule
from codegen.loops import Expr
from ir.graph import Node

_WARPS = 16


class _Images:
    """A block's images and their logits."""

    def __init__(self, w: Writer, node: Node, number: Expr, warps: int, warp: Expr) -> None:
        self.w, self.node, self.number = w, node, number
        self.logits = node.inputs[0]
        self.classes = self.logits.type.shape[1]
        self.block = Block(w, warps, warp)

    def label(self) -> Lane:
        """The class; -1 for a number that is none."""

        def label(lane: Expr) -> Expr:
            value = self.w.load(self.node.inputs[1], self.number, lane)
            inside = tirx.all(value >= 0, value < self.classes)
            return tirx.Select(inside, value, -1)

        return self.w.held(label, "int32")

    def largest(self) -> Lane:
        """The largest logit."""
        return self._fold(-inf, tirx.max, lambda c, z: z)

    def own(self, label: Lane) -> Lane:
        """The label's logit; nothing is read by label, which may be any number."""
        return self._sum(lambda c, z: lambda i: tirx.Select(label(i) == c, z(i), f32(0)))

    def sum_of_exponentials(self, largest: Lane) -> Lane:
        """Over all classes, of z - largest."""
        return self._sum(lambda c, z: exp(self.w, lambda i: z(i) - largest(i)))

    def count(self, holds: Callable[[Expr], Expr]) -> Lane:
        """How many logits a condition holds for."""
        return self._sum(lambda c, z: lambda i: tirx.Select(holds(z(i)), f32(1), f32(0)))

    def share(self) -> Lane:
        """The weight of an image, over the sum of all; 0 in padding and where all are 0."""
        w, weights = self.w, self.node.inputs[2]
        of_lane = total(w, w.blocks(weights.type), lambda number: _weight(w, weights, number))
        whole = self.block.over_lanes(of_lane)
        own = _weight(w, weights, self.number)
        return w.held(lambda i: tirx.Select(whole(i) > f32(0), own / whole(i), f32(0)))

    def keep(self, array: Scratch, value: Lane) -> Lane:
        """Leave a number of each image for later launches."""
        value = self.w.held(value)
        with self.w.when(self.block.row == 0):
            self.w.put(array, value(self.w.lane), self.number, self.w.lane)
        return value

    def keep_sum(self, array: Scratch, value: Lane) -> None:
        """The same of the sum over the block's images."""
        whole = self.block.over_lanes(value)
        with self.w.when(tirx.all(self.block.row == 0, self.w.lane == 0)):
            self.w.put(array, whole(self.w.lane), self.number)

    def _sum(self, term: Callable[[Expr, Lane], Lane]) -> Lane:
        return self._fold(0.0, lambda a, b: a + b, term)

    def _fold(
        self,
        start: float,
        combine: Callable[[Expr, Expr], Expr],
        term: Callable[[Expr, Lane], Lane],
    ) -> Lane:
        """Combine a term of class and logit over all classes."""
        w, warps = self.w, self.block.rows
        folded = w.register()
        folded.set(f32(start))
        with w.serial(-(-self.classes // warps)) as turn:
            c = w.let(turn * warps + self.block.row)
            with w.when(c < self.classes):
                logit = w.held(lambda lane: w.load(self.logits, self.number, c, lane))
                folded.set(combine(folded(w.lane), term(c, logit)(w.lane)))
        return self.block.over_rows(folded, combine)


def _weight(w: Writer, weights: Node, number: Expr) -> Expr:
    valid = w.valid_lanes(weights, number)
    return tirx.Select(w.lane < valid, w.load(weights, number, w.lane), f32(0))


@contextmanager
def _images(w: Writer, node: Node) -> Iterator[_Images]:
    """A launch of a block for every block of images."""
    logits = node.inputs[0].type
    warps = min(_WARPS, logits.shape[1])
    with w.launch(w.blocks(logits), warps) as (number, warp):
        yield _Images(w, node, number, warps, warp)


# ---------------------------------------------------------------------------- by class


def _exponentials(w: Writer, node: Node) -> tuple[Scratch, Scratch]:
    """Room for the largest logit of every image, and for the sum of exponentials."""
    count = w.blocks(node.type)
    return w.workspace(count, WARP), w.workspace(count, WARP)


def _softmax(w: Writer, node: Node) -> Rule:
    largest, sums = _exponentials(w, node)
    with _images(w, node) as images:
        most = images.keep(largest, images.largest())
        images.keep(sums, images.sum_of_exponentials(most))
    return lambda p, node: _probability(p, node, largest, sums)


def _probability(p: Position, node: Node, largest: Scratch, sums: Scratch) -> Lane:
    block, z = p.at[0], p.vector(node.inputs[0])
    e = exp(p.writer, lambda i: z(i) - largest[block, i])
    return lambda i: e(i) / sums[block, i]


def _cross_entropy_dx(w: Writer, node: Node) -> Rule:
    largest, sums = _exponentials(w, node)
    scale = w.workspace(*largest.shape)
    with _images(w, node) as images:
        most = images.keep(largest, images.largest())
        images.keep(sums, images.sum_of_exponentials(most))
        share, dloss = images.share(), w.element(node.inputs[3])
        images.keep(scale, lambda i: share(i) * dloss)

    def rule(p: Position, node: Node) -> Lane:
        (block, c), labels = p.at, node.inputs[1]
        y = _probability(p, node, largest, sums)
        hit = p.writer.held(lambda i: tirx.Select(w.load(labels, block, i) == c, f32(1), f32(0)))
        return lambda i: (y(i) - hit(i)) * scale[block, i]

    return rule


# ---------------------------------------------------------------------------- means


def _mean(w: Writer, node: Node, value: Callable[[_Images], Lane]) -> Rule:
    """The weighted mean over images."""
    sums = w.workspace(w.blocks(node.inputs[0].type))
    with _images(w, node) as images:
        share, of_image = images.share(), value(images)
        # An image of weight 0 counts for nothing, even if its value is infinite in padding.
        images.keep_sum(
            sums, lambda i: tirx.Select(share(i) == f32(0), f32(0), share(i) * of_image(i))
        )
    return lambda p, node: total(w, sums.shape[0], lambda number: sums[number,])


def _cross_entropy(w: Writer, node: Node) -> Rule:
    def loss(images: _Images) -> Lane:
        most, own = images.largest(), images.own(images.label())
        logarithm = log(w, images.sum_of_exponentials(most))
        return lambda i: logarithm(i) - (own(i) - most(i))

    return _mean(w, node, loss)


def _accuracy(w: Writer, node: Node) -> Rule:
    top = integer(node, "top")

    def right(images: _Images) -> Lane:
        label = images.label()
        own = images.own(label)
        greater = images.count(lambda z: z > own(w.lane))
        equal = images.count(lambda z: z == own(w.lane))
        return lambda i: _chance(f32(top) - greater(i), equal(i), label(i))

    return _mean(w, node, right)


def _chance(places: Expr, equal: Expr, label: Expr) -> Expr:
    """That a label is among the first: ties share the places that are left."""
    chance = tirx.min(tirx.max(places / tirx.max(equal, f32(1)), f32(0)), f32(1))
    return tirx.Select(tirx.all(equal > f32(0), label >= 0), chance, f32(0))


MAKERS: dict[str, Maker] = {
    "softmax": _softmax,
    "cross_entropy": _cross_entropy,
    "cross_entropy_dx": _cross_entropy_dx,
    "accuracy": _accuracy,
}
