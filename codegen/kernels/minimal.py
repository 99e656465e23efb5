"""Minimal filtering: F(m, r) makes m results of a correlation with r taps by m + r - 1 products.

y = A^T ((G g) * (B^T d)), with taps g and m + r - 1 inputs d, all in exact fractions (Toom and
Cook; Winograd 1980; Lavin and Gray 2015, section 4). Every finite point stands for a polynomial's
value there, and one more point for its highest coefficient.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import prod

Matrix = tuple[tuple[Fraction, ...], ...]

POINTS = {
    1: "",
    2: "0",
    3: "0 1",
    4: "0 1 -1",
    5: "0 -1 1/2 3/2",
    6: "0 2/3 -2/3 3/2 -3/2",
    7: "0 1 1/2 2 -3/4 -4/3",
}
"""The finite points for a number of products: of all sets of small fractions those that round least
in float32, found by trying."""


@dataclass(frozen=True)
class Minimal:
    """F(results, taps). B depends on the number of products only."""

    results: int
    taps: int

    @property
    def products(self) -> int:
        """How many it takes, which is how many inputs it reads, too."""
        return self.results + self.taps - 1

    @cached_property
    def output(self) -> Matrix:
        """A^T [results, products]: the points' powers."""
        return tuple(
            (*(point**power for point in self._points), Fraction(power == self.results - 1))
            for power in range(self.results)
        )

    @cached_property
    def taps_matrix(self) -> Matrix:
        """G [products, taps]: the taps' polynomial at each point, over what B leaves in."""
        rows = []
        for point in self._points:
            scale = prod((point - other for other in self._points if other != point), start=ONE)
            rows.append(tuple(point**power / scale for power in range(self.taps)))
        return (*rows, tuple(Fraction(power == self.taps - 1) for power in range(self.taps)))

    @cached_property
    def input(self) -> Matrix:
        """B^T [products, products]: polynomials with all points but one as their roots."""
        rows = [
            (*_polynomial([other for other in self._points if other != point]), Fraction(0))
            for point in self._points
        ]
        return (*rows, _polynomial(self._points))

    @property
    def _points(self) -> tuple[Fraction, ...]:
        return tuple(map(Fraction, POINTS[self.products].split()))


ONE = Fraction(1)


def _polynomial(roots: "tuple[Fraction, ...] | list[Fraction]") -> tuple[Fraction, ...]:
    """Coefficients, the constant one first, of the product of (x - root)."""
    coefficients = [ONE]
    for root in roots:
        raised = [Fraction(0), *coefficients]
        kept = [*(-root * c for c in coefficients), Fraction(0)]
        coefficients = [a + b for a, b in zip(raised, kept, strict=True)]
    return tuple(coefficients)
