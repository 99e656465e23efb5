"""A plan's kernels, loaded from the folder beside it. TVM's compiler is not needed.

TVM reads its environment when its thread pool first runs: threads are pinned to no core, since
several pools share the machine, and idle ones sleep at once.
"""

import ctypes
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tvm_ffi

from ir.command import Error
from ir.plan import Plan

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
        path = _verified(directory / file, sha256)
        if tvm_ffi.get_global_func(CONFIGURE, allow_missing=True) is None:
            # A second copy beside the one of a compiler in this process would end it.
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    return {name: _kernel(directory, plan, name) for name in plan.kernels}


def configure_pool(threads: int) -> None:
    """Give the calling host thread a pool of its own."""
    configure = tvm_ffi.get_global_func(CONFIGURE, allow_missing=True)
    if configure is not None:
        configure(OWN_THREADS, threads)


def _kernel(directory: Path, plan: Plan, name: str) -> Function:
    kernel = plan.kernels[name]
    path = _verified(directory / kernel.file, kernel.sha256)
    try:
        function: Function = tvm_ffi.load_module(path)[kernel.symbol]
    except Exception as error:
        # What the loader raises depends on what is wrong with the file.
        what = str(error).partition("\n")[0]
        raise Error(f"{path}: cannot be loaded, expected '{kernel.symbol}': {what}") from error
    return function


def _verified(path: Path, sha256: str) -> Path:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise Error(f"{path}: cannot be read: {error.strerror}") from error
    if found != sha256:
        raise Error(f"{path}: has sha256 {found}, expected {sha256} as in the plan")
    return path
