"""Memory of the host that kernels work in."""

import ctypes
import mmap
import re
from contextlib import suppress
from pathlib import Path

import numpy as np

from ir.plan import ALIGNMENT
from runtime.fit import DoesNotFit
from runtime.memory import Bytes

CGROUP = Path("/sys/fs/cgroup")
HUGE = 2 * 1024 * 1024
"""Bytes of a huge page."""


class Arena:
    """The arena of a logical device, zeroed."""

    def __init__(self, size: int) -> None:
        """May raise DoesNotFit."""
        self.bytes = allocate(size)

    def read(self, offset: int, size: int) -> Bytes:
        """A view."""
        return self.bytes[offset : offset + size]

    def write(self, offset: int, data: Bytes) -> None:
        """Put bytes at an offset."""
        self.bytes[offset : offset + data.size] = data

    def pointer(self, offset: int) -> ctypes.c_void_p:
        """The address of a byte."""
        return pointer(self.bytes, offset)


def allocate(size: int) -> Bytes:
    """Zeroed bytes at a huge page's boundary, huge pages asked for. May raise DoesNotFit."""
    anonymous = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        room = mmap.mmap(-1, max(size, ALIGNMENT) + HUGE, flags=anonymous)
    except OSError as error:
        raise DoesNotFit(f"{size / 1e9:.2f} GB of memory refused: {error.strerror}") from error
    with suppress(OSError):  # a kernel without them
        room.madvise(mmap.MADV_HUGEPAGE)
    everything = np.frombuffer(room, np.uint8)
    start = -everything.ctypes.data % HUGE
    return everything[start : start + size]


def pointer(area: Bytes, offset: int = 0) -> ctypes.c_void_p:
    """The address of a byte, as kernels take it."""
    return ctypes.c_void_p(area.ctypes.data + offset)


def available() -> int | None:
    """Bytes that the system or the container's limit leaves us, if either can be told."""
    limits = []
    with suppress(OSError, KeyError):
        text = Path("/proc/meminfo").read_text("ascii")
        fields = dict(re.findall(r"(\w+): +(\d+) kB", text))
        limits.append(1024 * (int(fields["MemAvailable"]) + int(fields["SwapFree"])))
    with suppress(OSError, ValueError, KeyError):
        limits.append(_left_by_limit())
    return min(limits, default=None)


def _left_by_limit() -> int:
    limit = int((CGROUP / "memory.max").read_text("ascii"))
    used = dict(line.split() for line in (CGROUP / "memory.stat").read_text("ascii").splitlines())
    # What else is counted there are files' pages, which the system takes back.
    return limit - int(used["anon"]) - int(used["shmem"])
