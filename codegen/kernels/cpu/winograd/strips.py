"""All strips of a convolution: its rows of tiles, cut where they are long."""

from tvm import tirx

from codegen.kernels.cpu.winograd.pixels import Strip
from codegen.kernels.cpu.writer import Writer
from codegen.kernels.winograd.phases import Phases
from codegen.loops import Expr

LONGEST = 12
"""Tiles of a strip at most."""


class Strips:
    """`count` strips of at most `tiles` tiles each, in so many blocks of images."""

    def __init__(self, phases: Phases, blocks: int) -> None:
        self._phases = phases
        self._parts = -(-phases.across.tiles // LONGEST)
        self.tiles = -(-phases.across.tiles // self._parts)
        self.count = blocks * phases.down.tiles * self._parts

    def at(self, w: Writer, number: Expr) -> Strip:
        """One of them; all those of an image block are numbered in a row."""
        rows = self._phases.down.tiles
        row, first = w.let(number // self._parts), w.let(number % self._parts * self.tiles)
        tiles = w.let(tirx.min(self.tiles, self._phases.across.tiles - first))
        return Strip(w.let(row // rows), w.let(row % rows), first, tiles)
