"""What both response normalisations compute of a window (`ir/ops/norm.py` has the formulas)."""

from codegen.kernels.attributes import integer
from codegen.kernels.math import f32, power
from codegen.kernels.writer import Lane, Writer
from ir.graph import Node


class Formula:
    """k, alpha, beta and the window [i - before, i + after]."""

    def __init__(self, node: Node) -> None:
        values = [node.attrs[name] for name in ("k", "alpha", "beta")]
        self.k, self.alpha, self.beta = (float(v) for v in values)  # type: ignore[arg-type]
        self.size = integer(node, "size")
        self.before = self.size // 2
        self.after = self.size - 1 - self.before

    def denominator(self, w: Writer, squares: Lane) -> Lane:
        """d = k + alpha * sum of squares."""
        return w.held(lambda i: f32(self.k) + f32(self.alpha) * squares(i))

    def root(self, w: Writer, d: Lane) -> Lane:
        """d^beta."""
        return power(w, d, self.beta)

    def divided(self, w: Writer, d: Lane, dy: Lane) -> tuple[Lane, Lane]:
        """dy d^-beta and dy d^(-beta-1), by one division."""
        root = self.root(w, d)
        over_d = w.held(lambda i: dy(i) / (root(i) * d(i)))
        return w.held(lambda i: over_d(i) * d(i)), over_d

    @property
    def factor(self) -> float:
        """What multiplies x and the sum over the windows that it lies in, in dx."""
        return -2 * self.alpha * self.beta


def square(x: Lane) -> Lane:
    """x^2."""
    return lambda i: x(i) * x(i)
