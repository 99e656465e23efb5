"""How the warps of a block share a tile: each has some rows of some columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Self

from codegen.kernels.cuda.form import Form
from codegen.kernels.cuda.tensor.mma.lines import Padded
from codegen.kernels.cuda.tensor.tile import TensorTile, tiles
from codegen.kernels.cuda.tile import Size, cheapest
from codegen.kernels.cuda.writer import WARP

HEIGHTS, WIDTHS = (16, 32, 48, 64), (1, 2, 3)
"""Rows of a warp, and its blocks of columns."""
GRIDS = (1, 1), (2, 1), (1, 2), (4, 1), (2, 2), (1, 4), (3, 1), (4, 2), (2, 4), (8, 1), (1, 8)
"""How many warps lie one below another, and side by side."""
OTHERS = 60
"""Registers of a thread beside sums and operands."""
MOVES = 4
"""And those of a move into shared memory, where a thread has so many that they are most of them."""


@dataclass(frozen=True)
class MmaTile(TensorTile):
    """A warp sums `height` rows of `width` blocks of columns."""

    rate = {"tf32": 512, "bf16": 1024}  # noqa: RUF012
    least_stages = 2
    most_shared = 96 << 10  # what every GPU since 2020 has room for
    processor_shared = 164 << 10

    @classmethod
    def every(cls, size: Size) -> Iterator[Self]:
        return tiles(cls, size, 1, GRIDS, product(HEIGHTS, WIDTHS))

    def line(self, form: Form, depth: int, extent: int, flipped: bool) -> Padded:
        return Padded(form, depth, extent, flipped)

    @property
    def read(self) -> int:
        return self.warps * (self.height + self.width * WARP)

    @property
    def moves(self) -> int:
        """Of a thread into shared memory, for a chunk."""
        return -(-self.size.depth * sum(self.spans) // (self.size.width * self.threads))

    @property
    def registers(self) -> int:
        operands = self.height // 4 + 8 * self.width
        return self.height * self.width + operands + max(OTHERS, MOVES * self.moves)


def best_tile(size: Size) -> MmaTile:
    """The cheapest."""
    return cheapest(MmaTile.every(size))
