"""How the threads of a block share a tile: a warp has some rows, a thread its lane of all columns.

Costs are estimates, as in `cuda/tile.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Self

from codegen.kernels.cuda.tile import LANES, MEMORY, Size, Tile, cheapest
from codegen.kernels.cuda.writer import WARP

HEIGHTS = 8, 16, 32
"""Rows of a warp."""
BLOCKS = 8
"""Blocks of columns of a warp, at most."""
SUMS = 128
"""Of a thread, at most: they fit beside their operands."""
WARPS = 8
"""Of a block of threads, at most."""
MULTIPLE = 16
"""Rows of a block of threads come in multiples of this."""
OTHERS = 28
"""Registers of a thread beside sums, operands and what waits for the next chunk."""
HELD = 60
"""Elements of a thread that wait for the next chunk, at most."""
ROW_MOVES = 8
"""Moves of rows by a thread for a chunk, at most."""
MOST = 250
"""Registers of a thread by this account; compilers need some of the 255 for themselves."""
MOVED = 4, 8
"""What it takes to move an element into shared memory, in multiply-adds: where a thread moves
elements of one column, and where not."""
WAITED = 300
"""Clocks between the multiply-adds of a chunk and those of the next one."""


@dataclass(frozen=True)
class SimtTile(Tile):
    """A thread sums `height` rows of its lane of all blocks of columns."""

    @classmethod
    def every(cls, size: Size) -> Iterator[Self]:
        for height, warps in shapes():
            if warps * height < size.rows + height:
                for blocks in range(1, min(BLOCKS, size.blocks) + 1):
                    yield cls(size, 1, warps, warps * height, blocks)

    @property
    def height(self) -> int:
        """Rows of a warp."""
        return self.rows // self.warps

    @property
    def sums(self) -> int:
        """Of a thread."""
        return self.height * self.blocks

    @property
    def chunk(self) -> tuple[float, float]:
        busy = self.size.depth * self._step
        return busy, max(busy, 1.25 * self.size.depth * self.sums) + WAITED

    @property
    def _step(self) -> float:
        """A step of one block where others fill its waits: what keeps a processor longest."""
        border = self.rows + self.columns
        moved = MOVED[self.threads % (self.columns // 4) > 0]
        issued = self.threads * self.sums + moved * border
        read = self.threads * (self.height // 4 + self.blocks)
        shared = self.threads * (self.height + self.blocks) + border
        return max((issued + read) / LANES, 4 * shared / LANES, 4 * border / MEMORY)

    @property
    def held(self) -> int:
        """How many elements of the next chunk wait in a thread's registers."""
        return -(-self.size.depth * (self.rows + self.columns) // self.threads)

    @property
    def registers(self) -> int:
        """Of a thread: sums, a step's operands, and what waits for the next chunk."""
        # A move has an address, which takes two, and a condition.
        moves = 3 * self.held // self.size.width
        return self.sums + self.height + self.blocks + self.held + moves + OTHERS

    @property
    def fits(self) -> bool:
        """Whether a thread's registers have room for it all."""
        # Rows that are moved one by one may each have a tap and a channel to remember.
        row_moves = self.size.depth * self.height // WARP // self.size.width
        within = self.sums <= SUMS and self.held <= HELD and row_moves <= ROW_MOVES
        return within and self.registers <= MOST


def best_tile(size: Size) -> SimtTile:
    """The cheapest."""
    return cheapest(SimtTile.every(size))


def shapes() -> list[tuple[int, int]]:
    """Heights and numbers of warps, such that rows come in multiples of `MULTIPLE`."""
    each = product(HEIGHTS, range(1, WARPS + 1))
    return [(height, warps) for height, warps in each if height * warps % MULTIPLE == 0]
