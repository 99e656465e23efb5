"""Softmax, cross entropy and accuracy: every lane is an image, classes are looped over.

The means over images come last, from one vector of sums per lane; weights of padding lanes are 0.
"""

from collections.abc import Callable
from math import inf

from tvm import tirx

from codegen.kernels.attributes import integer
from codegen.kernels.cpu.stage import Maker, Stage
from codegen.kernels.cpu.writer import LANES, Writer, blocks
from codegen.kernels.math import exp, f32, log
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from ir.graph import Node


class _Images:
    """A block of images and their logits."""

    def __init__(self, w: Writer, node: Node, block: Expr) -> None:
        self.w, self.block = w, block
        self._node, self.logits = node, node.inputs[0]
        self.classes = self.logits.type.shape[1]

    def logit(self, c: Expr) -> Lane:
        """Of class c."""
        return lambda lane: self.w.load(self.logits, self.block, c, lane)

    def label(self) -> Lane:
        """The class; -1 where there is none, in padding too."""
        labels, valid = self._node.inputs[1], self.w.valid_lanes(self.logits, self.block)

        def label(lane: Expr) -> Expr:
            value = self.w.load(labels, self.block, lane)
            inside = tirx.all(lane < valid, value >= 0, value < self.classes)
            return tirx.Select(inside, value, -1)

        return self.w.held(label, "int32")

    def weight(self) -> Lane:
        """Not normalised; 0 in padding."""
        return _weight(self.w, self._node.inputs[2], self.block)

    def fold(self, start: float, step: "_Step") -> Lane:
        """Combine over classes: total = step(total, class, lane)."""
        total = self.w.local(LANES)
        with self.w.lanes() as lane:
            self.w.store(total, f32(start), lane)
        with self.w.serial(self.classes) as c:
            value = step(lambda i: total[i], c)
            with self.w.lanes() as lane:
                self.w.store(total, value(lane), lane)
        return lambda lane: total[lane]

    def largest(self) -> Lane:
        """The largest logit."""
        return self.fold(-inf, lambda m, c: lambda i: tirx.max(m(i), self.logit(c)(i)))

    def own(self, label: Lane) -> Lane:
        """The label's logit; nothing is read by label, which may be any number."""
        return self.fold(
            0.0, lambda t, c: lambda i: tirx.Select(label(i) == c, self.logit(c)(i), t(i))
        )

    def exponential(self, c: Expr, largest: Lane) -> Lane:
        """e^(z - largest)."""
        return exp(self.w, lambda i: self.logit(c)(i) - largest(i))

    def sum_of_exponentials(self, largest: Lane) -> Lane:
        """Over all classes."""

        def step(total: Lane, c: Expr) -> Lane:
            e = self.exponential(c, largest)
            return lambda i: total(i) + e(i)

        return self.fold(0.0, step)


def _weight(w: Writer, weights: Node, block: Expr) -> Lane:
    valid = w.valid_lanes(weights, block)
    return w.held(lambda i: tirx.Select(i < valid, w.load(weights, block, i), f32(0)))


def _sum(w: Writer, count: int, term: Callable[[Expr], Lane]) -> Expr:
    """The sum over blocks and lanes of a term."""
    lanes, total = w.local(LANES), w.local(1)
    with w.lanes() as lane:
        w.store(lanes, f32(0), lane)
    with w.serial(count) as block:
        value = term(block)
        with w.lanes() as lane:
            w.store(lanes, lanes[lane] + value(lane), lane)
    w.store(total, f32(0), 0)
    for lane in range(LANES):
        w.store(total, total[0] + lanes[lane], 0)
    return total[0]


def _share(w: Writer, weights: Node) -> Expr:
    """What weights are multiplied by to sum to 1; 0 when they are all 0."""
    total = w.local(1)
    w.store(total, _sum(w, blocks(weights.type), lambda b: _weight(w, weights, b)), 0)
    share = w.local(1)
    w.store(share, tirx.Select(total[0] > f32(0), f32(1) / total[0], f32(0)), 0)
    return share[0]


def _mean(s: Stage, value: Callable[[_Images], Lane]) -> None:
    """The weighted mean over images."""
    w, logits = s.writer, s.node.inputs[0]
    share = _share(w, s.node.inputs[2])

    def term(block: Expr) -> Lane:
        images = _Images(w, s.node, block)
        weight, of_image = images.weight(), value(images)
        # An image of weight 0 counts for nothing, even if its value is infinite in padding.
        return lambda i: tirx.Select(weight(i) == f32(0), f32(0), weight(i) * share * of_image(i))

    total = _sum(w, blocks(logits.type), term)
    s.put(lambda lane: total)


def _softmax(s: Stage) -> None:
    images = _Images(s.writer, s.node, s.block)
    most = images.largest()
    total = images.sum_of_exponentials(most)
    with s.every(images.classes) as (c,):
        e = images.exponential(c, most)
        s.put(lambda i: e(i) / total(i), c)


def _cross_entropy(s: Stage) -> None:
    def loss(images: _Images) -> Lane:
        most, own = images.largest(), images.own(images.label())
        logarithm = log(s.writer, images.sum_of_exponentials(most))
        return lambda i: logarithm(i) - (own(i) - most(i))

    _mean(s, loss)


def _cross_entropy_dx(s: Stage) -> None:
    w, images = s.writer, _Images(s.writer, s.node, s.block)
    share, dloss = _share(w, s.node.inputs[2]), w.element(s.node.inputs[3])
    label, weight, most = images.label(), images.weight(), images.largest()
    total = images.sum_of_exponentials(most)
    scale = s.register(lambda i: weight(i) * share * dloss)
    valid = w.valid_lanes(images.logits, s.block)
    with s.every(images.classes) as (c,):
        e = images.exponential(c, most)
        hit = s.register(lambda i: tirx.Select(label(i) == c, f32(1), f32(0)))
        d = s.register(lambda i: (e(i) / total(i) - hit(i)) * scale(i))
        s.put(lambda i: tirx.Select(i < valid, d(i), f32(0)), c)


def _accuracy(s: Stage) -> None:
    top = integer(s.node, "top")

    def right(images: _Images) -> Lane:
        label = images.label()
        own = images.own(label)

        def count(holds: Callable[[Expr, Expr], Expr]) -> Lane:
            return images.fold(
                0.0,
                lambda t, c: (
                    lambda i: t(i) + tirx.Select(holds(images.logit(c)(i), own(i)), f32(1), f32(0))
                ),
            )

        greater, equal = count(lambda a, b: a > b), count(lambda a, b: a == b)
        return s.register(lambda i: _clipped(f32(top) - greater(i), equal(i), label(i)))

    _mean(s, right)


def _clipped(places: Expr, equal: Expr, label: Expr) -> Expr:
    """The chance that a label is among the first: ties share the places that are left."""
    chance = tirx.min(tirx.max(places / tirx.max(equal, f32(1)), f32(0)), f32(1))
    return tirx.Select(tirx.all(equal > f32(0), label >= 0), chance, f32(0))


_Step = Callable[[Lane, Expr], Lane]

MAKERS: dict[str, Maker] = {
    "softmax": _softmax,
    "cross_entropy": _cross_entropy,
    "cross_entropy_dx": _cross_entropy_dx,
    "accuracy": _accuracy,
}
