"""Minimal filtering: F(m, r) makes m results of a correlation with r taps by m + r - 1 products.

y = A^T ((G g) * (B^T d)), with taps g and m + r - 1 inputs d, all in exact fractions (Toom and
Cook; Winograd 1980; Lavin and Gray 2015, section 4). Every finite point stands for a polynomial's
value there, and one more point for its highest coefficient.

Tiles of m and of m - 1 results share G: the smaller ones leave out the first point, and B makes up
for what G divides by.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import prod, sqrt

Matrix = tuple[tuple[Fraction, ...], ...]

POINTS = {
    1: "",
    2: "0",
    3: "1 0",
    4: "0 1 -1",
    5: "1/2 0 -1 3/2",
    6: "0 2/3 -2/3 3/2 -3/2",
    7: "1 0 1/2 2 -3/4 -4/3",
    8: "0 1 -1 1/2 -1/2 2 -2",
}
"""The finite points for a number of products: of all sets of small fractions those that round least
in float32, found by trying; first the one that can best be done without."""


@dataclass(frozen=True)
class Minimal:
    """F(results, taps); `without` first points of F(results + without, taps)."""

    results: int
    taps: int
    without: int = 0

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
            scale = _product(point - other for other in self._all if other != point)
            rows.append(tuple(point**power / scale for power in range(self.taps)))
        return (*rows, tuple(Fraction(power == self.taps - 1) for power in range(self.taps)))

    @cached_property
    def input(self) -> Matrix:
        """B^T [products, products]: polynomials with all points but one as their roots."""
        rows = []
        for point in self._points:
            scale = _product(point - other for other in self._all[: self.without])
            roots = [other for other in self._points if other != point]
            rows.append((*(scale * c for c in _polynomial(roots)), Fraction(0)))
        return (*rows, _polynomial(self._points))

    @cached_property
    def growth(self) -> float:
        """How large products are beside the results that they add up to, and so their rounding:
        the root of the mean square, for noise, of the result that has most."""
        sizes = [
            _square(taps) * _square(inputs)
            for taps, inputs in zip(self.taps_matrix, self.input, strict=True)
        ]
        sums = [
            sum(a * a * size for a, size in zip(row, sizes, strict=True)) for row in self.output
        ]
        return sqrt(max(sums) / self.taps)

    @property
    def _points(self) -> tuple[Fraction, ...]:
        return self._all[self.without :]

    @property
    def _all(self) -> tuple[Fraction, ...]:
        return tuple(map(Fraction, POINTS[self.products + self.without].split()))


ONE = Fraction(1)


def _product(factors: Iterable[Fraction]) -> Fraction:
    return prod(factors, start=ONE)


def _square(row: Iterable[Fraction]) -> Fraction:
    return sum((c * c for c in row), Fraction(0))


def _polynomial(roots: "tuple[Fraction, ...] | list[Fraction]") -> tuple[Fraction, ...]:
    """Coefficients, the constant one first, of the product of (x - root)."""
    coefficients = [ONE]
    for root in roots:
        raised = [Fraction(0), *coefficients]
        kept = [*(-root * c for c in coefficients), Fraction(0)]
        coefficients = [a + b for a, b in zip(raised, kept, strict=True)]
    return tuple(coefficients)
