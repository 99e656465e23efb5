"""What tasks and register tiles of minimal filtering work on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from codegen.kernels.cpu.writer import Writer
from codegen.kernels.ranges import Range
from codegen.loops import Expr
from codegen.targets import Cpu


@dataclass(frozen=True)
class Band:
    """Rows of tiles, begin and end, of `columns` tiles from `column` on, of which the first
    `larger` may have all products."""

    block: Expr
    group: Expr
    rows: Range
    column: Expr
    columns: int
    larger: int

    @contextmanager
    def each_row(self, w: Writer, rows: Range | None = None) -> Iterator[tuple[Expr, Expr]]:
        """A loop over the rows, or the first of them. Yields each and the place of its first tile
        in the band."""
        begin, end = rows or self.rows
        with w.serial(end - begin) as row:
            yield begin + row, row * self.columns


@dataclass(frozen=True)
class At:
    """A register tile: its product, its first map in the group and among those kept, the place of
    its first tile in the band, and how many tiles it has."""

    band: Band
    panel: Expr
    first: Expr
    kept: Expr
    place: Expr
    columns: int


def columns_of_strip(target: Cpu, maps: int, tiles: int) -> int:
    """Tiles of a strip at most: as tuned, or one more where that makes fewer strips and maps
    divide well enough to fill half of the registers."""
    columns = target.tuning.strip
    fewer = -(-tiles // (columns + 1)) < -(-tiles // columns)
    return columns + 1 if fewer and fills_registers(target, maps, columns + 1) else columns


def fills_registers(target: Cpu, maps: int, columns: int) -> bool:
    """Whether a register tile of so many columns uses half of them."""
    return 2 * rows_of_tile(target, maps, columns) * columns >= target.accumulators


def rows_of_tile(target: Cpu, maps: int, columns: int) -> int:
    """Maps of a register tile: as many as fit and divide all."""
    most = max(1, target.accumulators // columns)
    return max(n for n in range(1, most + 1) if maps % n == 0)
