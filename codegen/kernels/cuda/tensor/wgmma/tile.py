"""How groups of four warps share a tile: each has some rows of some columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Self

from codegen.kernels.cuda.form import Form
from codegen.kernels.cuda.tensor.tile import TensorTile, tiles
from codegen.kernels.cuda.tensor.wgmma.lines import Swizzled
from codegen.kernels.cuda.tile import Size, cheapest
from codegen.kernels.cuda.writer import WARP

GROUP = 4
"""Warps that one instruction is done by."""
HIGH = 64
"""Rows of an instruction; of columns it takes what there are."""
HEIGHTS, WIDTHS = (64, 128), (1, 2, 3, 4, 6, 8)
"""Rows of a group, and its blocks of columns."""
GRIDS = (1, 1), (2, 1), (1, 2), (3, 1)
"""How many groups lie one below another, and side by side."""
HIGHEST = max(HEIGHTS) * max(down for down, _ in GRIDS)
"""Rows of a tile, at most."""
OTHERS = 40
"""Registers of a thread beside sums."""


@dataclass(frozen=True)
class GroupTile(TensorTile):
    """A group of warps sums `height` rows of `width` blocks of columns."""

    rate = {"tf32": 1024, "bf16": 2048}  # noqa: RUF012
    least_stages = 3
    most_shared = 200 << 10
    processor_shared = 228 << 10

    @classmethod
    def every(cls, size: Size) -> Iterator[Self]:
        return tiles(cls, size, GROUP, GRIDS, product(HEIGHTS, WIDTHS))

    def line(self, form: Form, depth: int, extent: int, flipped: bool) -> Swizzled:
        return Swizzled(form, depth, extent, flipped)

    @property
    def read(self) -> int:
        return self.warps // GROUP * (self.height + self.width * WARP)

    @property
    def further(self) -> tuple[int, int]:
        """Rows from a tap's first one to the next tap's, and columns."""
        rows, columns = self.size.apart
        return rows or self.rows, columns or self.columns

    @property
    def registers(self) -> int:
        return self.height * self.width * WARP // (GROUP * WARP) + OTHERS


def best_tile(size: Size) -> GroupTile:
    """The cheapest."""
    return cheapest(GroupTile.every(size))
