"""Barriers in shared memory, by which a warp that copies and those that multiply wait for each
other: three for every slot of a ring.
"""

from typing import Any

from tvm import tirx

from codegen.kernels.cuda.tensor.tile import WORD
from codegen.kernels.cuda.tensor.tma.tile import BARRIER, BoxTile, Event
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.loops import Expr


class Barriers:
    """Of a block of threads; they lie behind all else in its shared memory."""

    def __init__(self, w: Writer, tile: BoxTile, array: Any) -> None:
        self._w, self._tile, self._array = w, tile, array

    def begin(self, thread: Expr) -> None:
        """Have the first thread begin all of them."""
        w, tile = self._w, self._tile
        arrivals = {
            Event.ARRIVED: 1,
            Event.ROUNDED: tile.warps * WARP,
            Event.LEFT: tile.warps,
        }
        with w.when(thread == 0):
            with w.unrolled(tile.stages) as slot:
                for event, count in arrivals.items():
                    w.call("begin_barrier", self._at(event, slot), count)
            w.call("show_barriers")
        w.barrier()

    def wait(self, event: Event, slot: Expr, turn: Expr) -> None:
        """Until it has come to this in a slot `turn` + 1 times; 0 times it has from the start."""
        # Barriers tell only whether the number of times is odd.
        self._w.call("wait_barrier", self._at(event, slot), tirx.bitwise_and(turn, 1))

    def arrive(self, event: Event, slot: Expr) -> None:
        """This thread is done with its part of it."""
        self._w.call("arrive_at", self._at(event, slot))

    def expect(self, slot: Expr) -> None:
        """All bytes of a chunk are to arrive."""
        self._w.call("expect_bytes", self._at(Event.ARRIVED, slot), self._tile.arriving)

    def counting(self, slot: Expr) -> Expr:
        """The one that counts the bytes that arrive in a slot."""
        return self._at(Event.ARRIVED, slot)

    def _at(self, event: Event, slot: Expr) -> Expr:
        words = BARRIER // WORD
        place = self._tile.barriers + (slot * len(Event) + int(event)) * words
        return self._w.address(self._array, place, words)
