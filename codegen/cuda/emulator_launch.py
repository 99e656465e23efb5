"""A launch of a kernel on the host: what it is given, and what went wrong in it."""

import ctypes

Extent = tuple[int, int, int]
WARP = 32
RANK = 5
"""Axes of a tensor map, at most."""


class Map(ctypes.Structure):
    """A tensor map: the same fields as `CUtensorMap` in emulator.h. Axes are innermost first."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("extents", ctypes.c_ulonglong * RANK),
        ("strides", ctypes.c_ulonglong * (RANK - 1)),
        ("box", ctypes.c_uint * RANK),
        ("rank", ctypes.c_uint),
        ("item", ctypes.c_uint),
        ("swizzle", ctypes.c_uint),
    )


class Launch(ctypes.Structure):
    """The same fields as `Launch` in emulator.h."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("backward", ctypes.c_int),
        ("pointers", ctypes.POINTER(ctypes.c_void_p)),
        ("at", ctypes.c_uint * 3),
        ("thread", ctypes.c_uint * 3),
        ("fault", ctypes.c_int),
        ("place", ctypes.c_int),
        ("other", ctypes.c_int),
        ("waiting", ctypes.c_uint),
        ("team", ctypes.c_uint),
    )

    def complaint(self) -> str:
        """What went wrong, and where."""
        what = (
            *(self._diverged, self._misaligned, self._no_memory, self._not_shared, self._beyond),
            *(self._disagreed, self._no_group, self._no_barrier, self._too_many),
            *(self._wrong_rank, self._stuck),
        )
        return what[self.fault - 1]()

    def _block(self) -> str:
        return f"block {tuple(self.at)}"

    def _thread(self) -> str:
        return f"{self._block()}, thread {tuple(self.thread)}"

    def _diverged(self) -> str:
        elsewhere = f"wait in line {abs(self.other)}" if self.other else "have ended"
        if self.place > 0:
            return (
                f"{self._block()}: {self.waiting} of {self.team} threads wait at the barrier in "
                f"line {self.place}, while others {elsewhere}; expected all threads at every "
                "barrier"
            )
        own, all_ = ("warp's", "a warp does") if self.team == WARP else ("four warps'", "they do")
        return (
            f"{self._thread()}: {self.waiting} of its {own} {self.team} lanes wait for the others "
            f"in line {-self.place}, while others {elsewhere}; expected all lanes at what {all_} "
            "together"
        )

    def _misaligned(self) -> str:
        return (
            f"{self._thread()}: reads or writes a vector at an address that is no multiple of its "
            "size"
        )

    def _no_memory(self) -> str:
        return "not enough memory for the stacks of a block's threads, 64 KiB each"

    def _not_shared(self) -> str:
        return (
            f"{self._thread()}: copies to, or loads a matrix from, an address that does not lie in "
            "shared memory"
        )

    def _beyond(self) -> str:
        return (
            f"{self._block()}: writes beyond the {self.shared} bytes of shared memory that the "
            "launch asks for"
        )

    def _disagreed(self) -> str:
        return (
            f"{self._thread()}: lanes of its four warps multiply other matrices than this one; "
            "expected one pair of matrices"
        )

    def _no_group(self) -> str:
        return (
            f"{self._thread()}: multiplies in the last of the block's warps, of which there are "
            "fewer than four; expected full groups of four warps"
        )

    def _no_barrier(self) -> str:
        return f"{self._thread()}: expected a barrier in shared memory that was begun"

    def _too_many(self) -> str:
        return f"{self._thread()}: arrives at a barrier in shared memory that has all arrivals"

    def _wrong_rank(self) -> str:
        return f"{self._thread()}: copies a box of another rank than its array's map has"

    def _stuck(self) -> str:
        return (
            f"{self._thread()}: waits in line {self.place} for a barrier in shared memory that "
            "nobody completes"
        )
