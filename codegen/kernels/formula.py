"""What both response normalisations compute of a window (`ir/ops/norm.py` has the formulas)."""

from codegen.kernels.attributes import integer
from codegen.kernels.math import f32, power, powers
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

    def scale(self, w: Writer, d: Lane) -> Lane:
        """d^-beta."""
        return power(w, d, -self.beta)

    def scaled(self, w: Writer, d: Lane, dy: Lane) -> tuple[Lane, Lane]:
        """dy d^-beta and dy d^(-beta-1)."""
        direct, over_d = powers(w, d, -self.beta, -self.beta - 1)
        return w.held(lambda i: dy(i) * direct(i)), w.held(lambda i: dy(i) * over_d(i))

    @property
    def factor(self) -> float:
        """What multiplies x and the sum over the windows that it lies in, in dx."""
        return -2 * self.alpha * self.beta


def square(x: Lane) -> Lane:
    """x^2."""
    return lambda i: x(i) * x(i)
