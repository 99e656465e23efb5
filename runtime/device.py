"""This machine's devices: which logical devices they stand for, their threads and their memory."""

import ctypes
import mmap
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ir.command import Error, Exit
from ir.plan import ALIGNMENT

HUGE = 2 * 1024 * 1024
"""Bytes of a huge page."""

Bytes = npt.NDArray[np.uint8]


class DoesNotFit(Error):
    """The machine lacks the memory."""

    exit = Exit.NO_FIT


@dataclass(frozen=True)
class Physical:
    """A device of this machine: the logical devices it stands for and its share of threads."""

    name: str
    logical: tuple[int, ...]
    threads: int


def bind(names: Sequence[str], logical: int, threads: int | None) -> tuple[Physical, ...]:
    """Share the machine's threads among the devices named, one name per logical device.

    Every device gets one thread at least. Raises Error for a name that is no device, for another
    number of names, and for less than one thread.
    """
    shown = ",".join(names)
    for name in names:
        if not re.fullmatch(r"cpu:\d{1,4}", name):
            raise Error(f"--devices {shown}: unknown device '{name}', expected cpu:0, cpu:1, ...")
    if len(names) != logical:
        raise Error(f"--devices {shown}: {len(names)} named, expected {logical} as in the plan")
    if threads is not None and threads < 1:
        raise Error(f"--threads {threads}: expected at least 1")
    total = threads or len(os.sched_getaffinity(0))
    distinct = list(dict.fromkeys(names))
    return tuple(
        Physical(
            name,
            tuple(device for device, bound in enumerate(names) if bound == name),
            max(1, total * (place + 1) // len(distinct) - total * place // len(distinct)),
        )
        for place, name in enumerate(distinct)
    )


def memory(size: int) -> Bytes:
    """Zeroed bytes at a huge page's boundary, huge pages asked for. May raise DoesNotFit."""
    anonymous = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        room = mmap.mmap(-1, max(size, ALIGNMENT) + HUGE, flags=anonymous)
    except OSError as error:
        raise DoesNotFit(f"{size / 1e9:.2f} GB of memory refused: {error.strerror}") from error
    room.madvise(mmap.MADV_HUGEPAGE)
    everything = np.frombuffer(room, np.uint8)
    start = -everything.ctypes.data % HUGE
    return everything[start : start + size]


def pointer(area: Bytes, offset: int = 0) -> ctypes.c_void_p:
    """The address of a byte, as kernels take it."""
    return ctypes.c_void_p(area.ctypes.data + offset)


def require(size: int) -> None:
    """Raise DoesNotFit unless the machine can plainly hold so many bytes."""
    available = _available()
    if available is not None and size > available:
        raise DoesNotFit(
            f"the plan needs {size / 1e9:.2f} GB of memory, {available / 1e9:.2f} GB are "
            "available; expected a smaller batch or another machine"
        )


def _available() -> int | None:
    """Bytes that the system or the container's limit leaves us, if either can be told."""
    limits = []
    with suppress(OSError, KeyError):
        text = Path("/proc/meminfo").read_text("ascii")
        fields = dict(re.findall(r"(\w+): +(\d+) kB", text))
        limits.append(1024 * (int(fields["MemAvailable"]) + int(fields["SwapFree"])))
    with suppress(OSError, ValueError):
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text("ascii")))
    return min(limits, default=None)
