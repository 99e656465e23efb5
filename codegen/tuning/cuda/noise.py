"""Numbers that kernels are timed on."""

from functools import cache

import numpy as np

from codegen.tuning.cuda.single import places
from ir.plan import Kernel
from runtime.executor import Executor
from runtime.memory import Bytes, encoded

CHUNK = 1 << 24
"""Bytes that are written at a time."""


def fill(executor: Executor, kernel: Kernel) -> None:
    """Put small random numbers into all arguments, and zeros where these are integers.

    Zeros could be faster, and take less power; large numbers would grow, and be NaN after a while.
    Labels, places and counters must lie in their ranges. `executor` has what `single` made.
    """
    for begin, argument in zip(places(kernel), kernel.arguments, strict=False):
        for offset in range(0, argument.bytes, CHUNK):
            part = noise(argument.dtype)[: argument.bytes - offset]
            executor.memories[0].write(begin + offset, part)


@cache
def noise(dtype: str) -> Bytes:
    """CHUNK bytes of a type's elements."""
    if dtype not in ("f32", "bf16"):
        return np.zeros(CHUNK, np.uint8)
    values = np.random.default_rng(0).normal(0, 1e-2, CHUNK // 2).astype(np.float32)
    return encoded(values, dtype).view(np.uint8)[:CHUNK]
