"""Sums of four warps together, whose chunks one more warp has copied as boxes.

It runs ahead as far as there are slots; barriers tell it which chunks have been multiplied, and the
others which have arrived.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx

from codegen.kernels.cuda.operand import Part, Run
from codegen.kernels.cuda.tensor.tma.barriers import Barriers
from codegen.kernels.cuda.tensor.tma.ring import BoxRing
from codegen.kernels.cuda.tensor.tma.tile import BoxTile, Event
from codegen.kernels.cuda.tensor.wgmma.sums import GroupSums
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.kernels.writer import Lane
from codegen.loops import Expr


class Sums(GroupSums):
    """The last warp copies, all others multiply."""

    ring = BoxRing

    def __init__(self, w: Writer, tile: BoxTile, runs: tuple[Run, Run], warp: Expr) -> None:
        super().__init__(w, tile, runs, warp)
        self._thread, self._multiplies = warp * WARP + w.lane, warp < tile.warps
        self._barriers = Barriers(w, tile, self._shared)

    def add(self, part: Part) -> None:
        """Add all products of a part."""
        w = self._w
        self._barriers.begin(self._thread)
        with w.when(tirx.Not(self._multiplies)):
            self._copy(part)
        with w.when(self._multiplies):
            self._sum(part)
        w.barrier()

    @contextmanager
    def each(self, together: int) -> Iterator[tuple[Expr, Expr, Lane]]:
        with self._w.when(self._multiplies), super().each(together) as found:
            yield found

    # ------------------------------------------------------------------------ two roles

    def _copy(self, part: Part) -> None:
        w = self._w
        with w.serial(part.end - part.begin) as i:
            slot, turn = self._place(i)
            self._barriers.wait(Event.LEFT, slot, turn - 1)
            with w.when(tirx.call_extern("int32", "is_elected") != 0):
                self._barriers.expect(slot)
                for ring, at in zip(self._rings, part.at(part.begin + i), strict=True):
                    ring.load(slot, at)

    def _sum(self, part: Part) -> None:
        w = self._w
        self._ready()
        with w.serial(part.end - part.begin) as i:
            slot, turn = self._place(i)
            self._barriers.wait(Event.ARRIVED, slot, turn)
            if self._tile.size.form.name == "tf32":
                self._round(slot, turn)
            self._multiply(slot)
            # All products of the chunk before are done.
            with w.when(tirx.all(i > 0, w.lane == 0)):
                stages = self._tile.stages
                self._barriers.arrive(Event.LEFT, tirx.truncmod(i + stages - 1, stages))
        self._end()

    def _round(self, slot: Expr, turn: Expr) -> None:
        """Round a slot's chunk, each thread some of it."""
        for ring in self._rings:
            ring.round(slot)
        self._w.call("show_copies")
        self._barriers.arrive(Event.ROUNDED, slot)
        self._barriers.wait(Event.ROUNDED, slot, turn)

    def _place(self, i: Expr) -> tuple[Expr, Expr]:
        """The slot of chunk `i`, and how many chunks were there before."""
        stages = self._tile.stages
        return self._w.fixed(tirx.truncmod(i, stages)), self._w.fixed(tirx.truncdiv(i, stages))
