"""How a contraction is shared out: what a block of threads sums, and into how many parts.

The choice follows from sizes alone, so that the order of every sum does too. Costs are estimates:
clocks of one processor, for GPUs since 2020.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import ClassVar, Self, TypeVar

from codegen.kernels.cuda.form import F32, Form
from codegen.kernels.cuda.writer import WARP
from codegen.tuning.parameters import Shape

PROCESSORS = 132
REGISTERS = 64 << 10
"""Of a processor."""
LANES = 128
"""Multiply-adds of threads in a clock, and bytes of shared memory."""
MEMORY = 32
"""Bytes of memory or second-level cache in a clock."""
FINISHED = 32
"""What a thread's sum costs beyond its multiply-adds, in multiply-adds: it is stored."""
LAUNCHED = 3000
"""Clocks of another launch, to add up parts."""


@dataclass(frozen=True)
class Size:
    """Of a contraction: `products` alike of rows x `blocks` of 32 columns, each a sum over at most
    `chunks` of `depth` steps. `width` neighbours of an operand are moved at once.

    Rows lie in memory along the depth where `flipped` says so, and columns; `boxes` says of both
    which boxes can be copied (`Run`), of rows `whole` that one tile has them all. A chunk may have
    several `taps`, each of `depth` steps: with rows and columns of its own, or, where `apart` says
    so, with those of the tap before from so many of them on.
    """

    products: int
    rows: int
    blocks: int
    chunks: int
    depth: int
    width: int = 4
    flipped: tuple[bool, bool] = (False, False)
    form: Form = F32
    boxes: tuple[int | None, int | None] = (None, None)
    whole: bool = False
    taps: int = 1
    apart: tuple[int, int] = (0, 0)

    @property
    def in_boxes(self) -> bool:
        """Whether boxes of both operands can be copied."""
        return None not in self.boxes


@dataclass(frozen=True)
class Tile:
    """What each block of threads sums: `rows` of `blocks` of columns, one of `parts` parts.

    Subclasses say how its warps share it, and which tiles there are.
    """

    copiers: ClassVar[int] = 0
    """Warps that copy for those that sum."""
    finished: ClassVar[int] = FINISHED
    """What a sum costs beyond its multiply-adds, in multiply-adds."""
    size: Size
    parts: int
    warps: int
    rows: int
    blocks: int

    @classmethod
    def every(cls, size: Size) -> Iterator[Self]:
        """All that are worth a thought, each in one part."""
        raise NotImplementedError

    @property
    def registers(self) -> int:
        """Of a thread."""
        raise NotImplementedError

    @property
    def fits(self) -> bool:
        """Whether a block of threads has room for it all."""
        raise NotImplementedError

    @property
    def chunk(self) -> tuple[float, float]:
        """Clocks of a chunk: of a block of threads where others fill its waits, and of one
        alone."""
        raise NotImplementedError

    @property
    def resident(self) -> int:
        """How many blocks of threads a processor has at a time."""
        return REGISTERS // (self.threads * self.registers)

    @property
    def shape(self) -> Shape:
        """All but what there is to sum."""
        names = (field.name for field in fields(self) if field.name != "size")
        return Shape(type(self).__name__, {name: getattr(self, name) for name in names})

    def shaped(self, shape: Shape | None) -> Self:
        """The tile of another shape for the same sums; this one where there is none that fits."""
        if shape is None or shape == self.shape:
            return self
        others = _possible(type(self).every(self.size))
        return next((tile for tile in others if tile.shape == shape), self)

    # ------------------------------------------------------------------------ geometry

    @property
    def columns(self) -> int:
        """Of a block of threads."""
        return self.blocks * WARP

    @property
    def threads(self) -> int:
        """Of a block."""
        return (self.warps + self.copiers) * WARP

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
        busy, alone = self.chunk
        # Some blocks at a time, which wait in turn.
        chunk = max(blocks * busy, blocks / min(blocks, self.resident) * alone)
        finish = self.finished * blocks * self.rows * self.columns / LANES
        return -(-self.size.chunks // self.parts) * chunk + finish + self._addition

    @property
    def _addition(self) -> float:
        """Parts are stored, loaded and added up."""
        if self.parts == 1:
            return 0
        sums = self.size.products * self.size.rows * self.size.blocks * WARP
        return LAUNCHED + 4 * sums * 2 * self.parts / MEMORY / PROCESSORS


AnyTile = TypeVar("AnyTile", bound=Tile)


def cheapest(tiles: Iterable[AnyTile]) -> AnyTile:
    """The one of least cost, also of those that cut sums into parts."""
    return min(_possible(tiles), key=lambda tile: (tile.cost, -tile.warps, tile.parts))


def next_best(tile: AnyTile, count: int) -> list[AnyTile]:
    """The cheapest others for the same sums, each in as many parts as suit it best; ones of the
    same cost in their order."""
    ranked = [cheapest([each]) for each in type(tile).every(tile.size) if each.fits]
    others = sorted(ranked, key=lambda each: each.cost)[: count + 1]
    return [each for each in others if each.shape != tile.shape][:count]


def _possible(tiles: Iterable[AnyTile]) -> Iterator[AnyTile]:
    """Those that fit, also in several parts."""
    return (parts for tile in tiles if tile.fits for parts in _in_parts(tile))


def _in_parts(whole: AnyTile) -> Iterator[AnyTile]:
    """The same in more parts, only as far as one round of blocks does it all."""
    most = min(whole.size.chunks, 2 * PROCESSORS // whole.grid)
    for parts in range(1, max(1, most) + 1):
        yield replace(whole, parts=parts)
