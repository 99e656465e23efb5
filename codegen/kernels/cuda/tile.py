"""How a contraction is shared out: what a block of threads sums, and into how many parts.

The choice follows from sizes alone, so that the order of every sum does too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from codegen.kernels.cuda.writer import WARP

ROWS = 16
"""Rows of a warp: with four blocks of columns, 64 sums of a thread fit beside their operands."""
BLOCKS = 4
"""Blocks of columns of a warp, at most."""
WARPS = 8
"""Of a block of threads, at most."""
PROCESSORS = 132
"""As many blocks of threads run at a time, and twice as many wait in turn without a loss."""
STAGED = 16
"""What moving an element into shared memory costs, in multiply-adds."""
WAITED = 30_000
"""What a chunk costs beyond its multiply-adds where no other block fills the time at barriers."""
FINISHED = 32
"""What a sum costs beyond its multiply-adds: it is stored."""
LAUNCHED = 400_000
"""What another launch costs, to add up parts: two microseconds."""


@dataclass(frozen=True)
class Size:
    """Of a contraction: `products` alike of rows x `blocks` of 32 columns, each a sum over at most
    `chunks` of `depth` steps."""

    products: int
    rows: int
    blocks: int
    chunks: int
    depth: int


@dataclass(frozen=True)
class Tile:
    """Each block of threads sums `warps` x 16 rows of `blocks` of columns, one of `parts` parts."""

    size: Size
    warps: int
    blocks: int
    parts: int

    @property
    def rows(self) -> int:
        """Of a block of threads."""
        return self.warps * ROWS

    @property
    def columns(self) -> int:
        """Of a block of threads."""
        return self.blocks * WARP

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.warps * WARP

    @cached_property
    def down(self) -> int:
        """How many tiles lie one below another."""
        return -(-self.size.rows // self.rows)

    @cached_property
    def across(self) -> int:
        """How many tiles lie side by side."""
        return -(-self.size.blocks // self.blocks)

    @property
    def grid(self) -> int:
        """How many blocks of threads there are."""
        return self.down * self.across * self.size.products * self.parts

    @property
    def cost(self) -> int:
        """How long it takes, in multiply-adds of one processor."""
        area, border = self.rows * self.columns, self.rows + self.columns
        wait = WAITED if self.grid <= PROCESSORS else 0
        chunk = self.size.depth * (area + STAGED * border) + wait
        block = -(-self.size.chunks // self.parts) * chunk + FINISHED * area
        return -(-self.grid // PROCESSORS) * block + (LAUNCHED if self.parts > 1 else 0)


def best_tile(size: Size) -> Tile:
    """The cheapest. Sums are cut into parts only as far as one round of blocks does it all."""
    return min(_tiles(size), key=lambda tile: (tile.cost, -tile.warps, tile.parts))


def _tiles(size: Size) -> Iterator[Tile]:
    blocks = -(-size.blocks // -(-size.blocks // BLOCKS))
    for warps in range(1, min(WARPS, -(-size.rows // ROWS)) + 1):
        whole = Tile(size, warps, blocks, 1)
        for parts in range(1, max(1, min(size.chunks, 2 * PROCESSORS // whole.grid)) + 1):
            yield Tile(size, warps, blocks, parts)
