"""CUDA C on the host: the very source that goes to the GPU's compiler, run without a GPU.

A C++ compiler makes a library of it. Blocks run one after another, and the threads of a block one
at a time, as fibers that change at barriers and at what a warp does together. Shared memory holds
NaN when a block begins, and where an asynchronous copy goes until somebody waits for it. What a GPU
leaves undefined is an Error where it can be seen: a barrier that some threads never reach, a vector
at an address that is no multiple of its size, a write beyond the shared memory that was asked for.
A missing barrier shows as results that change with the order of the threads.
"""

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Literal

from codegen.cuda.emulator_launch import RANK, Extent, Launch, Map
from codegen.cuda.emulator_text import Signature, translated
from ir.command import Error
from ir.plan import TensorMap

Order = Literal["forward", "backward"]
"""Of threads and blocks: by their numbers, or the last first."""

KEPT = 512
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = (
    *("-std=c++17", "-march=native", "-shared", "-fPIC", "-w"),
    # Sources are compiled once and mostly run once: in sum this takes least time.
    *("-O1", "-finline-functions", "-finline-small-functions"),
    *("-fno-exceptions", "-fno-rtti"),
    # GCC 12 makes vectors of loads that a loop does on one condition, and loads nothing.
    "-fno-tree-vectorize",
    # CUDA C allows both.
    *("-fno-strict-aliasing", "-fwrapv"),
    # As on a GPU: fused where the text allows, and no operation sets a flag.
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
    # The checks of the C library take a change of fibers for an error.
    "-U_FORTIFY_SOURCE",
)


class Module:
    """The kernels of a source by their symbols, each a function that makes one launch.

    It takes (grid, block, pointers, order="forward", shared=0): extents as (x, y, z), addresses, as
    integers or `c_void_p`, of arrays aligned as vectors need, or what `tensor_map` made, and the
    bytes of the array in shared memory that has no extent in the source.
    """

    def __init__(self, library: ctypes.CDLL, kernels: dict[str, Signature]) -> None:
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
        pointers: Sequence[ctypes.c_void_p | int | Map],
        order: Order = "forward",
        shared: int = 0,
    ) -> None:
        """Raises Error for a launch that a GPU would refuse, and for what goes wrong in it."""
        self._kernels[symbol].require(symbol, grid, block, len(pointers), shared)
        addresses = (ctypes.c_void_p * len(pointers))(*map(_address, pointers))
        launch = Launch(
            grid=grid,
            block=block,
            shared=shared,
            backward=order == "backward",
            pointers=addresses,
        )
        with self._lock:
            self._library[f"launch_{symbol}"](ctypes.byref(launch))
        if launch.fault:
            raise Error(f"kernel '{symbol}': {launch.complaint()}")


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
    text, kernels = translated(source)
    with TemporaryDirectory(prefix="tandem") as folder:
        library = Path(folder) / "kernels.so"
        command = [compiler, *_FLAGS, "-x", "c++", "-", "-o", str(library)]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode:
            raise Error(f"{compiler} cannot compile this CUDA C for the host:\n{done.stderr}")
        return Module(ctypes.CDLL(str(library)), kernels)


def tensor_map(map: TensorMap, item_bytes: int, address: ctypes.c_void_p | int) -> Map:
    """What a launch gets for a map of the array at an address."""
    rank = len(map.extents)
    return Map(
        address=address,
        extents=(ctypes.c_ulonglong * RANK)(*map.extents),
        strides=(ctypes.c_ulonglong * (RANK - 1))(*map.strides),
        box=(ctypes.c_uint * RANK)(*map.box),
        rank=rank,
        item=item_bytes,
        swizzle=map.swizzle,
    )


def _address(given: ctypes.c_void_p | int | Map) -> ctypes.c_void_p | int:
    """A map goes by its own address."""
    return ctypes.addressof(given) if isinstance(given, Map) else given


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, _COMPILERS)), None)
