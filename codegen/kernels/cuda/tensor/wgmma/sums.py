"""Sums of four warps together, by `wgmma`: it reads both operands from shared memory."""

from tvm import tirx

from codegen.kernels.cuda.operand import Run
from codegen.kernels.cuda.tensor.sums import TensorSums
from codegen.kernels.cuda.tensor.tile import ROWS
from codegen.kernels.cuda.tensor.wgmma.tile import GROUP, HIGH, GroupTile
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.loops import Expr


class GroupSums(TensorSums):
    """Products go on while the next chunk is waited for."""

    def __init__(self, w: Writer, tile: GroupTile, runs: tuple[Run, Run], warp: Expr) -> None:
        self.high = tile.height // HIGH
        super().__init__(w, tile, runs, warp)
        self._further = tile.further
        size, group = tile.size, tirx.truncdiv(warp, GROUP)
        self._within = tirx.truncmod(warp, GROUP)
        self._down, self._side = tirx.truncdiv(group, tile.side), tirx.truncmod(group, tile.side)
        self._lines = [
            tile.line(size.form, size.depth, *each)
            for each in zip(tile.spans, size.flipped, strict=True)
        ]
        majors = "".join(str(int(not flipped)) for flipped in size.flipped)
        self._function = f"multiply_group_{size.form.name}_{tile.width * WARP}_{majors}"

    def _begin(self, i: Expr) -> tuple[Expr, Expr]:
        tile = self._tile
        first = self._down * tile.height + i * HIGH + self._within * ROWS
        return first, self._side * tile.width

    def _ready(self) -> None:
        count = 4 * self.high * self._wide
        self._w.call(f"hold_sums_{count}", self._w.address(self._sums, 0, 4))

    def _multiply(self, slot: Expr) -> None:
        w, tile, size = self._w, self._tile, self._tile.size
        w.call("begin_products")
        with w.unrolled(size.taps) as tap, w.unrolled(size.depth // size.form.step) as step:
            rows, columns = (tap * further for further in self._further)
            b = self._descriptor(1, slot, step, columns + self._side * tile.width * WARP)
            with w.unrolled(self.high) as i:
                a = self._descriptor(0, slot, step, rows + self._down * tile.height + i * HIGH)
                sums = w.address(self._sums, 4 * i * self._wide, 4)
                w.call(self._function, sums, a, b)
        w.call("commit_products")
        w.call("wait_products", 1)

    def _descriptor(self, place: int, slot: Expr, step: Expr, begin: Expr) -> Expr:
        """Of an operand from a row (or column) on."""
        lines = self._lines[place]
        word = self._rings[place].begin(slot) + lines.start(step, begin)
        at = self._w.address(self._shared, word, 4)
        numbers = lines.lead, lines.stride, lines.mode
        return tirx.call_pure_extern("uint64", "matrix_descriptor", at, *numbers)

    def _end(self) -> None:
        self._w.call("wait_products", 0)
        self._ready()


class Sums(GroupSums):
    """Every thread copies some of a chunk."""

    behind = 2

    def _arrived(self, slot: Expr) -> None:
        if self._tile.size.form.name == "tf32":
            # It would be cut off otherwise: no register is on the way.
            for ring in self._rings:
                ring.round(slot)
        self._w.call("show_copies")
