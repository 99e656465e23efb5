"""What tiles of tensor cores have in common: chunks in shared memory, and how long they take.

Costs are estimates, as in `cuda/tile.py`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import ClassVar, Protocol, TypeVar

from codegen.kernels.cuda.form import Form
from codegen.kernels.cuda.tile import LANES, MEMORY, REGISTERS, Size, Tile
from codegen.kernels.cuda.writer import WARP
from codegen.loops import Expr

ROWS, COLUMNS = 16, 8
"""Of what a warp has of an instruction's sums."""
WORD = 4
"""Bytes."""
STAGES = 4
"""Chunks in shared memory at a time, at most: one is multiplied, the others are on their way.
Threads wait for three groups of copies at most (`wait_copies`)."""
MOST = 220
"""Registers of a thread by this account; compilers need some of the 255 for themselves."""
MOVED = 24
"""Instructions for a move into shared memory by a thread: most find the address."""
FINISHED = 12
"""What a sum costs beyond its multiply-adds: four are stored at once."""
WAITED = 100
"""Clocks between the multiply-adds of a chunk and those of the next one."""


class Lines(Protocol):
    """Where an operand's chunk lies in shared memory."""

    @property
    def words(self) -> int:
        """All of it."""

    def word(self, step: Expr, extent: Expr) -> Expr:
        """Where an element lies that is moved with its neighbours."""


@dataclass(frozen=True)
class TensorTile(Tile):
    """A warp, or a group of warps, sums `height` rows of `width` blocks of columns."""

    finished = FINISHED
    rate: ClassVar[dict[str, float]]
    """Multiply-adds of a processor in a clock, by form."""
    least_stages: ClassVar[int]
    """Chunks in shared memory that it takes to multiply one while another is on its way."""
    most_stages: ClassVar[int] = STAGES
    """And as many as there are room for, but no more than these."""
    moved: ClassVar[int] = MOVED
    """Instructions of a thread for each of its moves into shared memory."""
    most_shared: ClassVar[int]
    """Bytes of a block of threads, at most."""
    processor_shared: ClassVar[int]
    """Bytes of all blocks of threads that a processor has at a time."""
    height: int
    width: int

    def line(self, form: Form, depth: int, extent: int, flipped: bool) -> Lines:
        """How an operand with so many rows (or columns) lies; memory runs along the depth where it
        is `flipped`."""
        raise NotImplementedError

    @property
    def read(self) -> int:
        """Elements that instructions read from shared memory for a step."""
        raise NotImplementedError

    @property
    def spans(self) -> tuple[int, int]:
        """Rows and columns of a chunk, those of all its taps."""
        return self.rows, self.columns

    @cached_property
    def lines(self) -> tuple[Lines, Lines]:
        """Of rows and of columns."""
        size = self.size
        pairs = zip(self.spans, size.flipped, strict=True)
        rows, columns = (self.line(size.form, size.depth, *pair) for pair in pairs)
        return rows, columns

    @property
    def side(self) -> int:
        """How many warps, or groups, lie side by side."""
        return self.blocks // self.width

    @property
    def words(self) -> int:
        """Of a chunk in shared memory, rows and columns."""
        return sum(lines.words for lines in self.lines)

    @property
    def slab(self) -> int:
        """Words between rows of sums in shared memory, on their way to the lanes that finish them:
        halves of a warp store pairs of them to banks of their own."""
        return self.width * WARP + COLUMNS

    @property
    def stages(self) -> int:
        """How many chunks are in shared memory at a time."""
        return min(self.most_stages, self.most_shared // (WORD * self.words))

    @property
    def shared(self) -> int:
        """Bytes of a block of threads."""
        return WORD * max(self.stages * self.words, self.warps * ROWS * self.slab)

    @property
    def fits(self) -> bool:
        room = self.stages >= self.least_stages and self.shared <= self.most_shared
        return room and self.registers <= min(MOST, REGISTERS // self.threads)

    @property
    def resident(self) -> int:
        room = self.processor_shared // (self.shared + 1024)
        return max(1, min(super().resident, room))

    @property
    def chunk(self) -> tuple[float, float]:
        size, form = self.size, self.size.form
        border, steps = size.depth * sum(self.spans), size.depth * size.taps
        clocks = (
            self.rows * self.columns * steps / self.rate[form.name],
            self.moved * border / size.width / LANES,
            form.bytes * (self.read * steps + border) / LANES,
            form.bytes * border / MEMORY,
        )
        return max(clocks), max(clocks) + WAITED


AnyTile = TypeVar("AnyTile", bound=TensorTile)
Pairs = Iterable[tuple[int, int]]


def tiles(
    make: type[AnyTile], size: Size, warps: int, grids: Pairs, shapes: Pairs
) -> Iterator[AnyTile]:
    """All that are worth a thought: grids (down, side) of so many warps each, which have shapes
    (height, width). None is more than one of these larger than what there is to sum."""
    for (down, side), (height, width) in product(grids, shapes):
        rows, blocks = down * height, side * width
        if rows < size.rows + height and blocks < size.blocks + width:
            yield make(size, 1, warps * down * side, rows, blocks, height, width)
