"""CUDA C on the host: the very source that goes to the GPU's compiler, run without a GPU.

A C++ compiler makes a library of it. Blocks run one after another, and the threads of a block one
at a time, as fibers that change at barriers. Shared memory holds NaN when a block begins. What a
GPU leaves undefined is an Error where it can be seen: a barrier that some threads never reach, a
vector at an address that is no multiple of its size. A missing barrier shows as results that
change with the order of the threads.
"""

import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, Literal

from ir.command import Error

Extent = tuple[int, int, int]
Order = Literal["forward", "backward"]
"""Of threads and blocks: by their numbers, or the last first."""

MOST_THREADS = 1024
KEPT = 512
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = (
    *("-std=c++17", "-O2", "-march=native", "-shared", "-fPIC", "-w"),
    *("-fno-exceptions", "-fno-rtti"),
    # CUDA C allows both.
    *("-fno-strict-aliasing", "-fwrapv"),
    # As on a GPU: fused where the text allows, and no operation sets a flag.
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
    # The checks of the C library take a change of fibers for an error.
    "-U_FORTIFY_SOURCE",
)
_HEADER = Path(__file__).with_name("emulator.h")
_KERNEL = re.compile(
    r'extern "C" __global__ void\s+(?:__launch_bounds__\((?P<most>\d+)(?:, 1)?\)\s*)?'
    r"(?P<name>\w+)\((?P<params>[^)]*)\)(?P<end>\s*[{;])"
)


class Module:
    """The kernels of a source by their symbols, each a function that makes one launch.

    It takes (grid, block, pointers, order="forward"): extents as (x, y, z), and addresses, as
    integers or `c_void_p`, of arrays aligned as vectors need.
    """

    def __init__(self, library: ctypes.CDLL, kernels: dict[str, "_Signature"]) -> None:
        self._library, self._kernels = library, kernels
        # Kernels of one library share its memory.
        self._lock = Lock()

    def __getitem__(self, symbol: str) -> Callable[..., None]:
        """The launch of a kernel. Raises Error for an unknown one."""
        if symbol not in self._kernels:
            raise Error(f"no kernel '{symbol}' in the source, expected {', '.join(self._kernels)}")
        return partial(self._run, symbol)

    def _run(
        self,
        symbol: str,
        grid: Extent,
        block: Extent,
        pointers: Sequence[ctypes.c_void_p | int],
        order: Order = "forward",
    ) -> None:
        """Raises Error for a launch that a GPU would refuse, and for what goes wrong in it."""
        self._kernels[symbol].require(symbol, grid, block, len(pointers))
        addresses = (ctypes.c_void_p * len(pointers))(*pointers)
        launch = _Launch(grid=grid, block=block, backward=order == "backward", pointers=addresses)
        with self._lock:
            self._library[f"launch_{symbol}"](ctypes.byref(launch))
        if launch.fault:
            raise Error(f"kernel '{symbol}': {_FAULTS[launch.fault](launch)}")


def available() -> bool:
    """Whether there is a C++ compiler."""
    return _compiler() is not None


@lru_cache(maxsize=KEPT)
def compile(source: str) -> Module:
    """The kernels of a source. Raises Error without a compiler, and with what it complains of.

    The latest are kept: a process that runs a plan twice compiles it once.
    What comes before the first kernel is left out: types and functions of CUDA are known.
    """
    compiler = _compiler()
    if compiler is None:
        raise Error(
            f"no C++ compiler among {', '.join(_COMPILERS)}; expected one, to run CUDA C without "
            "a GPU (on Debian: apt install g++)"
        )
    text, kernels = _translate(source)
    with TemporaryDirectory(prefix="tandem") as folder:
        library = Path(folder) / "kernels.so"
        command = [compiler, *_FLAGS, "-x", "c++", "-", "-o", str(library)]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode:
            raise Error(f"{compiler} cannot compile this CUDA C for the host:\n{done.stderr}")
        return Module(ctypes.CDLL(str(library)), kernels)


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, _COMPILERS)), None)


# ---------------------------------------------------------------------------- the text


@dataclass(frozen=True)
class _Signature:
    """How many pointers a kernel takes, and how many threads a block may have."""

    pointers: int
    most: int

    def require(self, symbol: str, grid: Extent, block: Extent, pointers: int) -> None:
        threads = block[0] * block[1] * block[2]
        if pointers != self.pointers:
            raise Error(f"kernel '{symbol}': {pointers} pointers, expected {self.pointers}")
        if min(*grid, *block) < 1:
            raise Error(f"kernel '{symbol}': grid {grid} of blocks {block}, expected extents >= 1")
        if threads > self.most:
            raise Error(f"kernel '{symbol}': blocks of {threads} threads, expected <= {self.most}")


def _translate(source: str) -> tuple[str, dict[str, _Signature]]:
    """C++ of the source: kernels become functions of a thread, a launch is exported for each."""
    found = list(_KERNEL.finditer(source))
    kernels = [match for match in found if match["end"].endswith("{")]
    if not kernels:
        raise Error('no kernel in the source, expected extern "C" __global__ void NAME(...)')
    first = found[0].start()
    ends = [match.start() for match in kernels[1:]] + [len(source)]
    lines = [
        f'#include "{_HEADER}"',
        f'#line {source.count(chr(10), 0, first) + 1} "kernels.cu"',
        _KERNEL.sub(_function, source[first:]),
        *(
            _entry(kernel, "__syncthreads()" in source[kernel.end() : end])
            for kernel, end in zip(kernels, ends, strict=True)
        ),
    ]
    return "\n".join(lines) + "\n", {match["name"]: _signature(match) for match in kernels}


def _function(kernel: re.Match[str]) -> str:
    places = "const uint3 threadIdx, const uint3 blockIdx"
    return f"static inline void {kernel['name']}({places}, {kernel['params']}){kernel['end']}"


def _entry(kernel: re.Match[str], barriers: bool) -> str:
    run = "with_barriers" if barriers else "without_barriers"
    pointers = (f"p[{place}]" for place in range(_signature(kernel).pointers))
    return f"KERNEL({kernel['name']}, {run}, {', '.join(pointers)})"


def _signature(kernel: re.Match[str]) -> _Signature:
    return _Signature(kernel["params"].count(",") + 1, int(kernel["most"] or MOST_THREADS))


# -------------------------------------------------------------------------- the launch


class _Launch(ctypes.Structure):
    """The same fields as `Launch` in emulator.h."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("backward", ctypes.c_int),
        ("pointers", ctypes.POINTER(ctypes.c_void_p)),
        ("at", ctypes.c_uint * 3),
        ("thread", ctypes.c_uint * 3),
        ("fault", ctypes.c_int),
        ("line", ctypes.c_int),
        ("other", ctypes.c_int),
        ("waiting", ctypes.c_uint),
    )


def _diverged(launch: Any) -> str:
    threads = launch.block[0] * launch.block[1] * launch.block[2]
    elsewhere = f"wait in line {launch.other}" if launch.other else "have ended"
    return (
        f"block {tuple(launch.at)}: {launch.waiting} of {threads} threads wait at the barrier in "
        f"line {launch.line}, while others {elsewhere}; expected all threads at every barrier"
    )


def _misaligned(launch: Any) -> str:
    return (
        f"block {tuple(launch.at)}, thread {tuple(launch.thread)}: reads or writes a vector at an "
        "address that is no multiple of its size"
    )


def _no_memory(launch: Any) -> str:
    return "not enough memory for the stacks of a block's threads, 64 KiB each"


_FAULTS: dict[int, Callable[[Any], str]] = {1: _diverged, 2: _misaligned, 3: _no_memory}
