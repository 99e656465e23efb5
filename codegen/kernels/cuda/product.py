"""The engine of all contractions: tiles of rows x columns, summed in registers.

Columns are lanes, so elements of the result's axis 0; rows are its other axes. Each thread sums
some rows of its lane in some blocks of columns. Sums run in chunks through shared memory. Where
there are too few tiles for the machine, sums are cut into parts, which a second launch adds up in
their order.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from tvm import tirx

from codegen.kernels.cuda.stage import At, Element, Run, Stage, when
from codegen.kernels.cuda.sums import Sums
from codegen.kernels.cuda.tile import Size, Tile, best_tile
from codegen.kernels.cuda.writer import WARP, Built, Writer
from codegen.kernels.epilogue import Epilogue
from codegen.kernels.math import f32
from codegen.kernels.memory import Scratch
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node

Place = TypeVar("Place")
"""Where one of the products lies, such as its group and its pixel."""


Column = Callable[[Expr, Expr, Expr], Element]
"""The factor at a step of a chunk, for a block of columns and a lane in it."""


@dataclass(frozen=True)
class Chunk:
    """Some steps of a sum: the factors of rows and of columns."""

    row: At
    column: Column


class Product(Generic[Place]):
    """A contraction by its operands, and what follows it in the region.

    Rows, blocks of columns and chunks are counted from 0 within one product.
    """

    def __init__(self, region: Graph, target: Cuda, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self._epilogue = node, Epilogue(self.w, node)

    def size(self) -> Size:
        """How much there is to sum."""
        raise NotImplementedError

    def runs(self) -> tuple[Run, Run]:
        """How the factors of rows and those of columns lie in memory."""
        raise NotImplementedError

    def place(self, product: Expr, first: Expr, last: Expr) -> Place:
        """Where a product lies; only these of its blocks of columns are asked for."""
        raise NotImplementedError

    def chunks(self, place: Place) -> Expr:
        """How many chunks its sums have."""
        raise NotImplementedError

    def chunk(self, place: Place, number: Expr) -> Chunk:
        """One of them."""
        raise NotImplementedError

    def result(self, place: Place, row: Expr, block: Expr) -> tuple[Expr, ...]:
        """Where a row of a block of columns belongs: (block, index along axis 1, ...)."""
        raise NotImplementedError

    def lanes(self, place: Place, block: Expr) -> tuple[Expr, ...]:
        """What must hold for this lane of a block of columns to have a result."""
        raise NotImplementedError

    # ------------------------------------------------------------------------ launches

    def build(self) -> Built:
        """Write it all."""
        width = min(run.width for run in self.runs())
        size, w = replace(self.size(), width=width), self.w
        tile = best_tile(size)
        if tile.parts == 1:
            self._sum(tile, None)
        else:
            sums = w.workspace(tile.parts, size.products, size.blocks, size.rows, WARP)
            self._sum(tile, sums)
            self._add(tile, sums)
        return w.built(noalias=True)

    def _sum(self, tile: Tile, parts: Scratch | None) -> None:
        """All tiles; their sums are parts, or final."""
        w, size = self.w, tile.size
        with w.launch(tile.grid, tile.warps) as (number, warp):
            extents = (tile.parts, tile.across, size.products, tile.down)
            part, across, product, down = w.indices(number, extents)
            corner = _Corner(tile, down * tile.rows, across * tile.blocks)
            place = self.place(product, corner.block, corner.last)
            sums = Sums(w, tile, warp)
            self._run(sums, place, corner, part)
            with sums.each() as (i, j):
                row, block = corner.row + warp * tile.height + i, corner.block + j
                with when(w, (*corner.holds_row(row), *corner.holds_block(block))):
                    if parts:
                        parts.store(w, sums.at(i, j)(w.lane), part, product, block, row, w.lane)
                    else:
                        self._finish(place, row, block, sums.at(i, j))

    def _add(self, tile: Tile, parts: Scratch) -> None:
        """Sums of all parts."""
        w, size = self.w, tile.size
        with w.tasks(size.products * size.blocks * size.rows) as task:
            product, block, row = w.indices(task, (size.products, size.blocks, size.rows))
            total = w.register()
            total.set(f32(0))
            with w.serial(tile.parts) as part:
                total.set(total(w.lane) + parts[part, product, block, row, w.lane])
            self._finish(self.place(product, block, block), row, block, total)

    def _finish(self, place: Place, row: Expr, block: Expr, total: Lane) -> None:
        """Padding lanes are left as they are: those of states are zero."""
        with when(self.w, self.lanes(place, block)):
            self._epilogue.write(self.result(place, row, block), total)

    # ------------------------------------------------------------------------ one tile

    def _run(self, sums: Sums, place: Place, corner: "_Corner", part: Expr) -> None:
        """Sum the chunks of a part, each while the next one is on its way."""
        w, tile = self.w, corner.tile
        row_run, column_run = self.runs()
        rows = Stage(w, tile, tile.rows, row_run)
        columns = Stage(w, tile, tile.columns, column_run)
        total = self.chunks(place)
        begin = w.fixed(tirx.truncdiv(part * total, tile.parts))
        end = w.fixed(tirx.truncdiv((part + 1) * total, tile.parts))
        # One buffer: the next chunk waits in registers. Two would save no barrier, as TVM puts one
        # between reading an array and writing it, whatever the indices.
        with w.serial(end - begin + 1) as i:
            number = begin + i
            with w.when(number < end):
                chunk = self.chunk(place, number)
                rows.load(sums.warp, lambda step, row: corner.row_of(chunk, step, row))
                columns.load(sums.warp, lambda step, lane: corner.column_of(chunk, step, lane))
            with w.when(i > 0):
                sums.add(rows, columns)
            w.barrier()
            with w.when(number < end):
                rows.put(sums.warp)
                columns.put(sums.warp)
            w.barrier()


@dataclass(frozen=True)
class _Corner:
    """Where a tile begins: its first row and block of columns."""

    tile: Tile
    row: Expr
    block: Expr

    @property
    def last(self) -> Expr:
        """Its last block of columns."""
        return tirx.min(self.block + self.tile.blocks, self.tile.size.blocks) - 1

    def holds_row(self, row: Expr) -> tuple[Expr, ...]:
        """What must hold for a row to be one."""
        rows = self.tile.size.rows
        return (row < rows,) if rows % self.tile.rows else ()

    def holds_block(self, block: Expr) -> tuple[Expr, ...]:
        """What must hold for a block of columns to be one."""
        blocks = self.tile.size.blocks
        return (block < blocks,) if blocks % self.tile.blocks else ()

    def row_of(self, chunk: Chunk, step: Expr, row: Expr) -> Element:
        """The factor of a row of the tile."""
        row = self.row + row
        return chunk.row(step, row).when(*self.holds_row(row))

    def column_of(self, chunk: Chunk, step: Expr, column: Expr) -> Element:
        """The factor of a column of the tile."""
        block = self.block + tirx.truncdiv(column, WARP)
        return chunk.column(step, block, tirx.truncmod(column, WARP)).when(*self.holds_block(block))
