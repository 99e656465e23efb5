"""What minimal filtering works on at a time: some blocks of images, some rows of tiles.

Transformed pixels and products lie in the workspace, which must not grow with the batch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod

from codegen.kernels.cuda.form import F32
from codegen.kernels.cuda.tile import Size
from codegen.kernels.cuda.winograd.maps import Maps, maps_of, source_of
from codegen.kernels.cuda.winograd.transform import WARPS
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.kernels.winograd.phases import Phases
from codegen.kernels.winograd.side import Kind
from codegen.layout import Blocked
from codegen.loops import Expr
from ir.graph import Node

FLOAT = 4
"""Bytes."""
BLOCKED = Blocked(WARP)
"""How values lie in memory."""
LIMIT = 1 << 30
"""Bytes of transformed pixels and products, or gradients of results, at a time, at most."""
TURNS = 8
"""Of a convolution, at most: each has code of its own."""


@dataclass(frozen=True)
class Turn:
    """The tiles in these of their rows, each for these blocks of images.

    The columns of a product are its tiles, row by row, and blocks of images within each.
    """

    phases: Phases
    images: range
    rows: range

    @property
    def columns(self) -> int:
        """Blocks of columns of a product that all tiles have."""
        return len(self.rows) * self.phases.across.tiles * len(self.images)

    def with_product(self, i: Expr, j: Expr) -> Expr:
        """How many of them the product in row i and column j of a tile has."""
        rows = self.phases.down.with_product(i, self.rows)
        return rows * self._width(j) * len(self.images)

    def column(self, tile: tuple[Expr, Expr], j: Expr, image: Expr) -> Expr:
        """Where a tile lies among those that have products in column j, and an image in it; rows
        and images are counted from the turn's first."""
        return (tile[0] * self._width(j) + tile[1]) * len(self.images) + image

    def bytes(self, maps: int) -> int:
        """Of so many maps, transformed."""
        return FLOAT * WARP * self.phases.products * self.columns * maps

    def panel(self, w: Writer, maps: Maps, number: Expr, chunks: Callable[[Expr], Expr]) -> "Panel":
        """Number so and so of those of all groups, given the chunks for so many columns."""
        by = self.phases
        group, i, j = w.indices(number, (maps.groups, by.down.products, by.across.products))
        columns = w.fixed(self.with_product(i, j))
        return Panel(group, w.fixed(by.panel(i, j)), columns, w.fixed(chunks(columns)))

    def size(self, maps: Maps) -> Size:
        """Of the sums of its products over source maps."""
        depth = F32.depth_of(maps.sources)
        products, chunks = maps.groups * self.phases.products, -(-maps.sources // depth)
        return Size(products, maps.results, self.columns, chunks, depth)

    def size_of_gradient(self, maps: Maps) -> Size:
        """Of their sums over images."""
        products, chunks = maps.groups * self.phases.products, self.columns * (WARP // F32.depth)
        ends = [group * maps.results for group in range(maps.groups + 1)]
        blocks = max(-(-end // WARP) - begin // WARP for begin, end in pairwise(ends))
        flipped = True, True
        return Size(products, maps.sources, blocks, chunks, F32.depth, flipped=flipped)

    def _width(self, j: Expr) -> Expr:
        across = self.phases.across
        return across.with_product(j, range(across.tiles))


@dataclass(frozen=True)
class Panel:
    """One of the products, in a group: its number, how many blocks of columns have it, and in how
    many chunks it is added up."""

    group: Expr
    number: Expr
    columns: Expr
    chunks: Expr


@dataclass(frozen=True)
class Tile:
    """A tile of a block of images. Places within its turn are counted from the turn's first."""

    turn: Turn
    inner: tuple[Expr, Expr]
    image: Expr

    @property
    def row(self) -> Expr:
        """Of tiles."""
        return self.turn.rows.start + self.inner[0]

    @property
    def column(self) -> Expr:
        """Of tiles."""
        return self.inner[1]

    @property
    def block(self) -> Expr:
        """Of images."""
        return self.turn.images.start + self.image

    def place(self, j: Expr) -> Expr:
        """Where it lies among those that have products in column j."""
        return self.turn.column(self.inner, j, self.image)

    def holds_image(self, w: Writer, node: Node) -> tuple[Expr, ...]:
        """What must hold for this lane of a value to be one of its images."""
        images = node.type.shape[0]
        return (self.block * WARP + w.lane < images,) if images % WARP else ()

    def kinds(self, w: Writer) -> Iterator[tuple[Kind, Kind]]:
        """Write for each pair of kinds, down and across, what is to be done for a tile of them."""
        for down in self.turn.phases.down.kind(w, self.row):
            for across in self.turn.phases.across.kind(w, self.column):
                yield down, across


@contextmanager
def each_tile(w: Writer, turn: Turn, maps: int) -> Iterator[tuple[Expr, Tile]]:
    """A launch with a warp for each map and each tile of a turn. Yields both."""
    extents = maps, len(turn.rows), turn.phases.across.tiles, len(turn.images)
    with w.tasks(prod(extents), WARPS) as task:
        map, row, column, image = w.indices(task, extents)
        yield map, Tile(turn, (row, column), image)


def turns_of(node: Node, phases: Phases) -> list[Turn]:
    """All of a convolution or a gradient of one; none where it would take too many."""
    blocks, rows = BLOCKED.blocks(source_of(node).type), phases.down.tiles
    maps = maps_of(node, phases).total
    ways = [(parts, 1) for parts in range(1, blocks)] + [(blocks, n) for n in range(1, rows + 1)]
    for some, others in ways[:TURNS]:
        pairs = product(_parts(blocks, some), _parts(rows, others))
        found = [Turn(phases, *pair) for pair in pairs]
        if len(found) <= TURNS and all(turn.bytes(maps) <= LIMIT for turn in found):
            return found
    return []


def _parts(total: int, count: int) -> list[range]:
    """Of near-equal size."""
    ends = [total * number // count for number in range(count + 1)]
    return [range(begin, end) for begin, end in pairwise(ends)]
