"""A plan's kernels, loaded from the folder beside it. TVM's compiler is not needed.

TVM reads its environment when its thread pool first runs: threads are pinned to no core, since
several pools share the machine, and idle ones sleep at once.
"""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tvm_ffi

from ir.command import Error
from ir.plan import Library, Plan
from runtime.verify import verified

Function = Callable[..., Any]
"""Called as (threads, scratch, pointers...)."""

ENVIRONMENT = {"TVM_BIND_THREADS": "0", "TVM_THREAD_POOL_SPIN_COUNT": "0"}
CONFIGURE = "runtime.config_threadpool"
OWN_THREADS = 1  # mode of `CONFIGURE`: no pinning order


def load(plan: Plan, directory: Path, threads: int) -> dict[str, Function]:
    """Every kernel by its name. Raises Error for a file that is not the plan's or has no kernel.

    `threads` is the most that any host thread will ask for.
    """
    os.environ.update(ENVIRONMENT, TVM_NUM_THREADS=str(threads))
    for file, sha256 in plan.library.items():
        path = verified(directory / file, sha256)
        if tvm_ffi.get_global_func(CONFIGURE, allow_missing=True) is None:
            # A second copy beside the one of a compiler in this process would end it.
            _load_library(path)
    return {name: _function(directory, code) for name, code in libraries(plan).items()}


def _load_library(path: Path) -> None:
    try:
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    except OSError as error:
        built = "expected a system like the one that the plan was built on"
        raise Error(f"{path}: cannot be loaded, {built}: {error}") from error


def libraries(plan: Plan) -> dict[str, Library]:
    """The code of every kernel of a plan for CPUs."""
    codes = {name: kernel.code for name, kernel in plan.kernels.items()}
    return {name: code for name, code in codes.items() if isinstance(code, Library)}


def configure_pool(threads: int) -> None:
    """Give the calling host thread a pool of its own."""
    configure = tvm_ffi.get_global_func(CONFIGURE, allow_missing=True)
    if configure is not None:
        configure(OWN_THREADS, threads)


def _function(directory: Path, code: Library) -> Function:
    path = verified(directory / code.file, code.sha256)
    try:
        function: Function = tvm_ffi.load_module(path)[code.symbol]
    except Exception as error:
        # What the loader raises depends on what is wrong with the file.
        what = str(error).partition("\n")[0]
        raise Error(f"{path}: cannot be loaded, expected '{code.symbol}': {what}") from error
    return function
