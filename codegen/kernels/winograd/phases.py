"""Both sides of a convolution; with strides, its source maps times their phases are the depth."""

from dataclasses import dataclass

from codegen.kernels.winograd.side import Side
from codegen.loops import Expr, Loops


@dataclass(frozen=True)
class Phases:
    """Down and across."""

    down: Side
    across: Side

    @property
    def sizes(self) -> tuple[int, int]:
        """Results of a larger tile, down and across."""
        return self.down.size, self.across.size

    @property
    def count(self) -> int:
        """Phases of each source map."""
        return self.down.stride * self.across.stride

    @property
    def products(self) -> int:
        """Of a larger tile, for each pair of source and result map; matrices to be multiplied."""
        return self.down.products * self.across.products

    def panel(self, i: Expr, j: Expr) -> Expr:
        """The number of a product by its row and column in a tile."""
        return i * self.across.products + j

    @property
    def multiplied(self) -> int:
        """Products of all tiles of a map."""
        return self.down.multiplied * self.across.multiplied

    @property
    def tiles(self) -> int:
        """Of a map."""
        return self.down.tiles * self.across.tiles

    def of(self, w: Loops, depth: Expr) -> tuple[Expr, Expr, Expr]:
        """The source map at some depth, and its phase down and across."""
        inner = w.let(depth % self.count)
        return (
            w.let(depth // self.count),
            w.let(inner // self.across.stride),
            w.let(inner % self.across.stride),
        )
