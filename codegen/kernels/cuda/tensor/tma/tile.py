"""How groups of four warps share a tile that one more warp has copied."""

from dataclasses import dataclass
from enum import IntEnum
from math import gcd

from codegen.kernels.cuda.tensor.tile import WORD
from codegen.kernels.cuda.tensor.wgmma.tile import GroupTile
from codegen.kernels.cuda.tile import Size, cheapest

BARRIER = 8
"""Bytes."""
BOX = 256
"""Rows (or columns) of a box, at most."""


class Event(IntEnum):
    """What a slot's chunk comes to, each by a barrier of its own."""

    ARRIVED = 0
    ROUNDED = 1
    LEFT = 2


@dataclass(frozen=True)
class BoxTile(GroupTile):
    """A group of warps sums `height` rows of `width` blocks of columns."""

    copiers = 1
    least_stages = 3
    most_stages = 6
    moved = 0

    @property
    def spans(self) -> tuple[int, int]:
        rows, columns = ((self.size.taps - 1) * further for further in self.further)
        return self.rows + rows, self.columns + columns

    @property
    def fits(self) -> bool:
        if self.size.whole and self.rows < self.size.rows:
            return False
        # A tap's columns are those of the tap before, from a box on.
        return self.columns % max(1, self.size.apart[1]) == 0 and super().fits

    @property
    def boxes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of rows and of columns: how many boxes a chunk has, and how many of them are in each."""
        size, (down, across) = self.size, self.spans
        high, wide = (each or 0 for each in size.boxes)
        if size.whole:
            down -= self.rows - size.rows
        else:
            high = _evenly(gcd(self.rows, high))
        wide = _evenly(gcd(self.columns, wide))
        return (down // high, high), (across // wide, wide)

    @property
    def arriving(self) -> int:
        """Bytes of a chunk that boxes bring."""
        steps = sum(count * each for count, each in self.boxes) * self.size.depth
        return steps * self.size.form.bytes

    @property
    def barriers(self) -> int:
        """The word that they begin at, behind all else."""
        return super().shared // WORD

    @property
    def shared(self) -> int:
        return super().shared + len(Event) * BARRIER * self.stages


def _evenly(extent: int) -> int:
    """The largest part that a box can have."""
    return next(extent // n for n in range(1, extent + 1) if extent % n == 0 and extent // n <= BOX)


def has_room(size: Size) -> bool:
    """Whether some tile has."""
    return any(tile.fits for tile in BoxTile.every(size))


def best_tile(size: Size) -> BoxTile:
    """The cheapest."""
    return cheapest(BoxTile.every(size))
