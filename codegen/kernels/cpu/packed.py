"""The weights of a direct convolution in the order in which register tiles read them."""

from collections.abc import Callable, Sequence
from math import prod

from codegen.kernels.cpu.tile import Run, each
from codegen.kernels.cpu.writer import Writer
from codegen.loops import Expr

Weight = Callable[[Expr, Expr, Expr, Expr], Expr]
"""The weight between a map of the result and a source map of its group, through a tap (r, s)."""


class Packed:
    """Of each tile [source maps, r, s, maps of the tile], one tile after another.

    So a tile reads a stream. In a weight's own layout 16 maps lie side by side, and a tile of
    fewer fills the nearest cache with others.
    """

    def __init__(self, w: Writer, maps: int, depth: int, window: Sequence[int]) -> None:
        self._w, self._depth, self._window = w, depth, window
        self._size = depth * prod(window)
        self._array = w.shared(maps * self._size)

    def fill(self, parts: int, maps: int, run: Run, weight: Weight) -> None:
        """Pack the tiles of a run in each of some parts, which have so many maps each."""
        w = self._w
        with w.tasks(parts * run.count) as task:
            part = w.let(task // run.count)
            first = w.let(part * maps + run.begin + task % run.count * run.size)
            with w.serial(self._depth) as d, each(w, self._window) as (r, s):
                place = self._place(first, run.size, d, r, s)
                for m in range(run.size):
                    w.put(self._array, weight(first + m, d, r, s), place + m)

    def scalars(self, first: Expr, rows: int, d: Expr, r: Expr, s: Expr) -> list[Expr]:
        """What a tile, given with its first map, reads for a source map and a tap."""
        place = self._place(first, rows, d, r, s)
        return [self._array[(place + m,)] for m in range(rows)]

    def _place(self, first: Expr, rows: int, d: Expr, r: Expr, s: Expr) -> Expr:
        height, width = self._window
        return first * self._size + ((d * height + r) * width + s) * rows
