"""How a contraction is shared out: what a block of threads sums, and into how many parts.

The choice follows from sizes alone, so that the order of every sum does too. Costs are estimates:
clocks of one processor, for GPUs since 2020.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

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
PROCESSORS = 132
REGISTERS = 64 << 10
"""Of a processor."""
OTHERS = 28
"""Registers of a thread beside sums, operands and what waits for the next chunk."""
HELD = 60
"""Elements of a thread that wait for the next chunk, at most."""
ROW_MOVES = 8
"""Moves of rows by a thread for a chunk, at most."""
MOST = 250
"""Registers of a thread by this account; compilers need some of the 255 for themselves."""
LANES = 128
"""Multiply-adds in a clock, and bytes of shared memory."""
MEMORY = 32
"""Bytes of memory or second-level cache in a clock."""
MOVED = 4, 8
"""What it takes to move an element into shared memory, in multiply-adds: where a thread moves
elements of one column, and where not."""
WAITED = 300
"""Clocks between the multiply-adds of a chunk and those of the next one."""
FINISHED = 32
"""What a sum costs beyond its multiply-adds, in multiply-adds: it is stored."""
LAUNCHED = 3000
"""Clocks of another launch, to add up parts."""


@dataclass(frozen=True)
class Size:
    """Of a contraction: `products` alike of rows x `blocks` of 32 columns, each a sum over at most
    `chunks` of `depth` steps. `width` neighbours of an operand are moved at once."""

    products: int
    rows: int
    blocks: int
    chunks: int
    depth: int
    width: int = 4


@dataclass(frozen=True)
class Tile:
    """Each block of threads sums `warps` x `height` rows of `blocks` of columns, one of `parts`
    parts."""

    size: Size
    warps: int
    height: int
    blocks: int
    parts: int

    @property
    def rows(self) -> int:
        """Of a block of threads."""
        return self.warps * self.height

    @property
    def columns(self) -> int:
        """Of a block of threads."""
        return self.blocks * WARP

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.warps * WARP

    @property
    def sums(self) -> int:
        """Of a thread."""
        return self.height * self.blocks

    @cached_property
    def down(self) -> int:
        """How many tiles lie one below another."""
        return -(-self.size.rows // self.rows)

    @cached_property
    def across(self) -> int:
        """How many tiles lie side by side."""
        return -(-self.size.blocks // self.blocks)

    @cached_property
    def grid(self) -> int:
        """How many blocks of threads there are."""
        return self.down * self.across * self.size.products * self.parts

    # ------------------------------------------------------------------------ cost

    @property
    def cost(self) -> float:
        """How many clocks it takes."""
        blocks = -(-self.grid // PROCESSORS)
        chunk, finish = self._chunk(blocks), FINISHED * blocks * self.threads * self.sums / LANES
        return -(-self.size.chunks // self.parts) * chunk + finish + self._addition

    def _chunk(self, blocks: int) -> float:
        """A chunk of every one of a processor's blocks: some at a time, which wait in turn."""
        busy = self.size.depth * self._step
        alone = max(busy, 1.25 * self.size.depth * self.sums) + WAITED
        return max(blocks * busy, blocks / min(blocks, self.resident) * alone)

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
    def _addition(self) -> float:
        """Parts are stored, loaded and added up."""
        if self.parts == 1:
            return 0
        sums = self.size.products * self.size.rows * self.size.blocks * WARP
        return LAUNCHED + 4 * sums * 2 * self.parts / MEMORY / PROCESSORS

    @property
    def resident(self) -> int:
        """How many blocks a processor has at a time."""
        return REGISTERS // (self.threads * self.registers)

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


def best_tile(size: Size) -> Tile:
    """The cheapest. Sums are cut into parts only as far as one round of blocks does it all."""
    return min(_tiles(size), key=lambda tile: (tile.cost, -tile.warps, tile.parts))


def shapes() -> list[tuple[int, int]]:
    """Heights and numbers of warps, such that rows come in multiples of `MULTIPLE`."""
    each = product(HEIGHTS, range(1, WARPS + 1))
    return [(height, warps) for height, warps in each if height * warps % MULTIPLE == 0]


def _tiles(size: Size) -> Iterator[Tile]:
    for height, warps in shapes():
        if warps * height < size.rows + height:
            for blocks in range(1, min(BLOCKS, size.blocks) + 1):
                tile = Tile(size, warps, height, blocks, 1)
                if tile.fits:
                    yield from _parts(tile)


def _parts(whole: Tile) -> Iterator[Tile]:
    most = min(whole.size.chunks, 2 * PROCESSORS // whole.grid)
    for parts in range(1, max(1, most) + 1):
        yield replace(whole, parts=parts)
