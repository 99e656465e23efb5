"""Columns that are pixels: one product has some pixels of a row, each for all blocks of images."""

from dataclasses import dataclass, replace

from tvm import tirx

from codegen.kernels.axis import Axis, Taps
from codegen.loops import Expr


@dataclass(frozen=True)
class Strip:
    """Pixels of a row of the result in a group of maps, from column x on, and all the taps through
    which one of them meets the source; and the first of its blocks of images."""

    group: Expr
    y: Expr
    x: Expr
    down: Taps
    across: Taps
    images: Expr


@dataclass(frozen=True)
class Strips:
    """The pixels of a product, `apart` from each other along an axis, and `images` blocks each.

    Blocks of columns are counted pixel by pixel.
    """

    axis: Axis
    apart: int
    images: int

    @property
    def pixels(self) -> int:
        """Of a product; the last ones may lie beyond the result."""
        return -(-self.axis.results // self.apart)

    @property
    def blocks(self) -> int:
        """Of columns of a product."""
        return self.pixels * self.images

    def pixel(self, first: Expr, block: Expr) -> Expr:
        """Which pixel a block of columns is, given the product's first."""
        if self.pixels == 1:
            return first
        return first + self.apart * tirx.truncdiv(block, self.images)

    def image(self, block: Expr) -> Expr:
        """Which block of images it is."""
        return block if self.pixels == 1 else tirx.truncmod(block, self.images)

    def holds(self, first: Expr, block: Expr) -> tuple[Expr, ...]:
        """What must hold for its pixel to be one of the result's."""
        results = self.axis.results
        return (self.pixel(first, block) < results,) if results % self.apart else ()

    def source(self, first: Expr, block: Expr, tap: Expr) -> Expr:
        """What its pixel meets through a tap by its number, perhaps beyond the image."""
        return self.axis.taps(self.pixel(first, block)).source(tap)

    def taps(self, first: Expr, begin: Expr, end: Expr) -> Taps:
        """All taps through which blocks begin .. end meet a pixel, which for some is no pixel."""
        # Bounds rise with the pixel, or fall.
        ends = [self.axis.taps(self.pixel(first, block)) for block in (begin, end)]
        least = tirx.min(*(taps.begin for taps in ends))
        most = tirx.max(*(taps.end for taps in ends))
        return replace(self.axis.taps(first), begin=least, end=most)
