"""What all contractions have in common: products of rows and columns, summed in tiles.

Columns are lanes, so elements of the result's axis 0; rows are its other axes. Sums run in chunks
through shared memory, added up by threads (`simt`) or by tensor cores (`mma`). Where there are too
few tiles for the machine, sums are cut into parts, which a second launch adds up in their order.
"""

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from tvm import tirx

from codegen.kernels.cuda import simt
from codegen.kernels.cuda.form import form_of
from codegen.kernels.cuda.operand import At, Chunk, Element, Part, Run, when
from codegen.kernels.cuda.tensor import mma, tma, wgmma
from codegen.kernels.cuda.tile import Size, Tile
from codegen.kernels.cuda.writer import WARP, Built, Writer
from codegen.kernels.epilogue import Epilogue
from codegen.kernels.math import f32
from codegen.kernels.memory import Home, Scratch
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node

Place = TypeVar("Place")
"""Where one of the products lies, such as its group and its pixel."""

Engine = Any
"""A way to add up products: its `best_tile` for a size, and its `Sums`."""


class Product(Generic[Place]):
    """A contraction by its operands, and what follows it in the region.

    Rows, blocks of columns and chunks are counted from 0 within one product.
    """

    def __init__(self, region: Graph, target: Cuda, node: Node) -> None:
        self.w = Writer(region, target)
        self.node, self._epilogue = node, Epilogue(self.w, node)
        self.form = form_of(node)
        self._target = target

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
        """What must hold for this thread's lanes of a block of columns to have results."""
        raise NotImplementedError

    @property
    def together(self) -> int:
        """Of how many neighbouring lanes all have results, or none."""
        return 1

    # ------------------------------------------------------------------------ launches

    @property
    def cost(self) -> float:
        """How many clocks it takes, by estimate."""
        size = self.sized()
        return float(self.engine(size).best_tile(size).cost)

    def build(self) -> Built:
        """Write it all."""
        tile = self.sum()
        return replace(self.w.built(noalias=True), tile=tile)

    def sum(self) -> Tile:
        """Launch it, in tiles such as this."""
        w, size = self.w, self.sized()
        self._engine = self.engine(size)
        tile: Tile = self._engine.best_tile(size).shaped(self._target.shape)
        if tile.parts == 1:
            self._sum(tile, None)
        else:
            sums = w.workspace(tile.parts, size.products, size.blocks, size.rows, WARP)
            self._sum(tile, sums)
            self._add(tile, sums)
        return tile

    def sized(self) -> Size:
        """The size with all that follows from how operands lie in memory."""
        rows, columns = self.runs()
        return replace(
            self.size(),
            width=min(rows.width, columns.width),
            flipped=(rows.flipped, columns.flipped),
            form=self.form,
            boxes=(rows.boxes, columns.boxes),
            whole=rows.whole,
        )

    def engine(self, size: Size) -> Engine:
        """What adds up its tiles."""
        return engine_of(size, self._target)

    def _sum(self, tile: Tile, parts: Scratch | None) -> None:
        """All tiles; their sums are parts, or final."""
        w, size = self.w, tile.size
        with w.launch(tile.grid, tile.warps + tile.copiers) as (number, warp):
            extents = (tile.parts, tile.across, size.products, tile.down)
            part, across, product, down = w.indices(number, extents)
            corner = _Corner(tile, down * tile.rows, across * tile.blocks)
            place = self.place(product, corner.block, corner.last)
            sums = self._engine.Sums(w, tile, self.runs(), warp)
            sums.add(self._part(place, corner, part))
            with sums.each(self.together) as (row, block, value):
                row, block = corner.row + row, corner.block + block
                with when(w, (*corner.holds_row(row), *corner.holds_block(block))):
                    if parts:
                        w.put_row(Home(w, parts), (part, product, block, row), value)
                    else:
                        self._finish(place, row, block, value)

    def _add(self, tile: Tile, parts: Scratch) -> None:
        """Sums of all parts."""
        w, size = self.w, tile.size
        with w.tasks(size.products * size.blocks * size.rows, lanes=self.together) as task:
            product, block, row = w.indices(task, (size.products, size.blocks, size.rows))
            total = w.register()
            total.set(f32(0))
            with w.serial(tile.parts) as part:
                added = w.row(Home(w, parts), (part, product, block, row))
                total.set(lambda lane: total(lane) + added(lane))
            self._finish(self.place(product, block, block), row, block, total)

    def _finish(self, place: Place, row: Expr, block: Expr, total: Lane) -> None:
        """Lanes without results are left as they are: those of states are zero."""
        with when(self.w, self.lanes(place, block)):
            self._epilogue.write(self.result(place, row, block), total)

    def _part(self, place: Place, corner: "_Corner", number: Expr) -> Part:
        """The chunks of one of a tile's parts."""
        parts, total = corner.tile.parts, self.chunks(place)
        begin = self.w.fixed(tirx.truncdiv(number * total, parts))
        end = self.w.fixed(tirx.truncdiv((number + 1) * total, parts))
        return Part(begin, end, lambda chunk: corner.factors(self.chunk(place, chunk)))


def engine_of(size: Size, target: Cuda) -> Engine:
    """Threads for f32; groups of four warps where the architecture has them, else warps.

    Of tf32, groups read only what lies along the sum.
    """
    if size.form.name == "f32":
        return simt
    if not (target.groups and (size.form.name == "bf16" or all(size.flipped))):
        return mma
    return tma if size.in_boxes else wgmma


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

    def factors(self, chunk: Chunk) -> tuple[At, At]:
        """Of the tile's rows and of its columns."""

        def row(step: Expr, row: Expr) -> Element:
            row = self.row + row
            return chunk.row(step, row).when(*self.holds_row(row))

        def column(step: Expr, column: Expr) -> Element:
            block, lane = self.block + tirx.truncdiv(column, WARP), tirx.truncmod(column, WARP)
            return chunk.column(step, block, lane).when(*self.holds_block(block))

        return row, column
