"""What tasks and register tiles of minimal filtering work on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from codegen.kernels.cpu.writer import Writer
from codegen.kernels.ranges import Range
from codegen.loops import Expr


@dataclass(frozen=True)
class Band:
    """Rows of tiles, begin and end, of `columns` tiles from `column` on."""

    block: Expr
    group: Expr
    rows: Range
    column: Expr
    columns: int

    @contextmanager
    def each_row(self, w: Writer) -> Iterator[tuple[Expr, Expr]]:
        """A loop over the rows. Yields each and the place of its first tile in the band."""
        begin, end = self.rows
        with w.serial(end - begin) as row:
            yield begin + row, row * self.columns


@dataclass(frozen=True)
class At:
    """A register tile: its product, its first map in the group and among those kept, the place of
    its first tile in the band."""

    band: Band
    panel: Expr
    first: Expr
    kept: Expr
    place: Expr
