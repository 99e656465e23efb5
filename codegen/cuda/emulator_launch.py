"""A launch of a kernel on the host: what it is given, and what went wrong in it."""

import ctypes

Extent = tuple[int, int, int]
WARP = 32


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
            self._disagreed,
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
