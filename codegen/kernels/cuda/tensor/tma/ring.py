"""Chunks that come as boxes: parts of an array that are even along its axes."""

from typing import Any

from tvm import tirx

from codegen.kernels.cuda.operand import At, Run
from codegen.kernels.cuda.tensor.ring import Ring
from codegen.kernels.cuda.tensor.tma.barriers import Barriers
from codegen.kernels.cuda.tensor.tma.tile import BoxTile
from codegen.kernels.cuda.tensor.wgmma.lines import Swizzled
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.loops import Expr

MOVED = 4
"""Words that a thread rounds at once."""


class BoxRing(Ring):
    """The GPU copies boxes into lines that are swizzled as `wgmma` reads them."""

    _lines: Swizzled

    def __init__(
        self, w: Writer, tile: BoxTile, array: Any, place: int, run: Run, warp: Expr
    ) -> None:
        super().__init__(w, tile, array, place, run, warp)
        self._boxes, self._each = tile.boxes[place]
        self._is_own = not tile.size.apart[place]
        self._tap = tile.further[place]
        self._barriers = Barriers(w, tile, array)

    def load(self, slot: Expr, at: At) -> None:
        """Have the boxes of a chunk copied into a slot."""
        w, barrier = self._w, self._barriers.counting(slot)
        with w.unrolled(self._boxes) as number:
            first = number * self._each
            element = at(*self._begins(first))
            map = w.tensor_map(element.array, self._box(len(element.index)), self._lines.bytes)
            to = w.address(self._array, self.begin(slot) + self._lines.start(0, first), 4)
            index = reversed(element.index)
            w.call(f"copy_box_{len(element.index)}", to, map, barrier, *index)

    def _begins(self, first: Expr) -> tuple[Expr, Expr]:
        """The step and the row (or column) that a box begins with: what taps have of their own
        comes tap by tap."""
        if not self._is_own:
            return 0, first
        tap, along = tirx.truncdiv(first, self._tap), tirx.truncmod(first, self._tap)
        return tap * self._depth, along

    def _box(self, rank: int) -> list[int]:
        """The extents of a box of an array whose axes are blocks, one, ..., lanes."""
        flipped = self._run.flipped
        maps = self._each if flipped else self._depth
        window = self._run.window or (maps, *[1] * (rank - 3))
        return [1, *window, self._depth] if flipped else [self._each // WARP, *window, WARP]

    def round(self, slot: Expr) -> None:
        """Round some words."""
        w = self._w
        units = self._lines.words // MOVED
        with w.serial(-(-units // self._threads)) as turn:
            unit = turn * self._threads + self._thread
            with w.when(unit < units):
                place = self.begin(slot) + unit * MOVED
                w.call(f"round_copied_{MOVED}", w.address(self._array, place, MOVED))
