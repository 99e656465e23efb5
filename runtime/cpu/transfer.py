"""Transfers between two physical devices of one process: both sides meet, one copies.

Another carrier needs the same four verbs.
"""

import ctypes
from collections.abc import Callable
from threading import Barrier, BrokenBarrierError

Copy = Callable[[], object]


class Halted(Exception):
    """The other devices stopped; there is nobody to meet."""


class Rendezvous:
    """Where the threads of two devices meet, once before each copy and once after."""

    def __init__(self) -> None:
        self._barrier = Barrier(2)

    def send(self) -> None:
        """Offer the source; return when it was copied and may be overwritten. May raise Halted."""
        self._meet()
        self._meet()

    def receive(self, copy: Copy) -> None:
        """Copy once the source is there. May raise Halted."""
        self._meet()
        copy()
        self._meet()

    def halt(self) -> None:
        """Send everyone home who waits here or will come."""
        self._barrier.abort()

    def reset(self) -> None:
        """Make it usable after a halt, when nobody is here."""
        self._barrier.reset()

    def _meet(self) -> None:
        try:
            self._barrier.wait()
        except BrokenBarrierError as error:
            raise Halted from error


def copier(target: ctypes.c_void_p, source: ctypes.c_void_p, size: int) -> Copy:
    """A copy of bytes that lets other Python threads run meanwhile."""
    return lambda: ctypes.memmove(target, source, size)
