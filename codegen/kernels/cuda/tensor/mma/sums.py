"""Sums of a warp's own, by `mma.sync`."""

from tvm import tirx

from codegen.kernels.cuda.operand import Run
from codegen.kernels.cuda.tensor.mma.fragments import Fragments
from codegen.kernels.cuda.tensor.mma.tile import MmaTile
from codegen.kernels.cuda.tensor.sums import TensorSums
from codegen.kernels.cuda.tensor.tile import ROWS
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.loops import Expr


class Sums(TensorSums):
    """A warp multiplies fragments of rows and of columns."""

    def __init__(self, w: Writer, tile: MmaTile, runs: tuple[Run, Run], warp: Expr) -> None:
        self.high = tile.height // ROWS
        super().__init__(w, tile, runs, warp)
        self._down, self._side = tirx.truncdiv(warp, tile.side), tirx.truncmod(warp, tile.side)
        begins = self._down * tile.height, self._side * tile.width * WARP
        self._a, self._b = (
            Fragments(w, tile, self._shared, place, begins[place]) for place in (0, 1)
        )

    def _begin(self, i: Expr) -> tuple[Expr, Expr]:
        tile = self._tile
        return self._down * tile.height + i * ROWS, self._side * tile.width

    def _multiply(self, slot: Expr) -> None:
        w, form = self._w, self._tile.size.form
        rows, columns = self._rings
        with w.unrolled(self._tile.size.depth // form.step) as step:
            self._a.load(rows.begin(slot), step)
            self._b.load(columns.begin(slot), step)
            with w.unrolled(self.high) as i, w.unrolled(self._wide) as j:
                sums = w.address(self._sums, 4 * (i * self._wide + j), 4)
                w.call(f"multiply_{form.name}", sums, self._a.address(i), self._b.address(j))
