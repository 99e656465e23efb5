"""How many tiles and maps a task of minimal filtering works on at a time.

Its weights come from a shared cache; transformed pixels and products lie in its second cache, or
go through the shared one where they are too many. Of all ways the one that moves least is taken.
"""

from dataclasses import dataclass
from itertools import product

from codegen.kernels.cpu.writer import LANES

FLOAT = 4
NEARER = 0.5
"""What a byte from the second cache costs, beside one that comes and goes in the shared cache."""
STREAMED = 0.5
"""What a byte of the weights costs, which are only read, in their order."""


@dataclass(frozen=True)
class Blocking:
    """Rows of tiles of a task at most, and register tiles of maps from products to results."""

    rows: int
    maps: int


@dataclass(frozen=True)
class Matrices:
    """Per product a matrix of weights, [maps x height, depth], times one of pixels, [depth, a
    strip's columns x some rows of tiles x lanes]; `height` is that of a register tile."""

    products: int
    maps: int
    height: int
    depth: int
    columns: int

    def blocking(self, rows: int, cache: int) -> Blocking:
        """For a strip with so many rows of tiles, in a cache of so many bytes."""
        ways = (Blocking(*way) for way in product(range(1, rows + 1), range(1, self.maps + 1)))
        return min(ways, key=lambda way: (self.moved(way, cache), way.rows, -way.maps))

    def moved(self, way: Blocking, cache: int) -> float:
        """Bytes to and from the shared cache, for each tile; those from the second count less."""
        tiles, turns = way.rows * self.columns, -(-self.maps // way.maps)
        vector = self.products * tiles * LANES * FLOAT
        pixels, products = vector * self.depth, vector * way.maps * self.height
        weights = self.products * self.maps * self.height * self.depth * FLOAT
        moved = STREAMED * weights + NEARER * pixels * turns
        if pixels + products > cache:
            # Written once, read in every turn.
            moved += pixels * (1 + turns)
        if products > cache / 2:
            moved += 2 * products * turns
        return moved / tiles
