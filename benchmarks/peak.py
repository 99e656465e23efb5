"""What this machine's processor can do at most: `python -m benchmarks.peak`.

Fused multiply-adds in registers, and reading, writing and updating arrays of several sizes, from
those in a core's own cache to those far beyond any. The kernels are TVM's code, as ours all are;
an update counts its bytes twice. Prints a table, and writes it as JSON.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from benchmarks.ceiling_kernels import BODIES, LANES, STREAMS, ceiling, multiply_add
from benchmarks.report import Facts, caches, machine, table, write
from codegen.targets import cpu
from codegen.tuning.timing import pool
from ir.command import run
from runtime.cpu.memory import allocate, pointer

ROUNDS = 1 << 19
"""Multiply-adds of each register in a call."""
SPAN = 0.4
"""Seconds of calls, of which the best counts: cores of a busy machine are rarely free at once."""
MOVED = {"read": 1, "write": 1, "update": 2}
"""How often each byte of an array moves."""
MEMORY = 256 * 2**20
"""Bytes of each thread's array that is far beyond its share of any cache."""
CACHED = 64 * 2**20
"""Bytes to be moved at least where arrays are small, in as many rounds as it takes."""


@dataclass(frozen=True)
class Ceilings:
    """Operations per second, and bytes per second from or to memory, whatever way is fastest."""

    flops: float
    bytes: float

    def least(self, flops: float, moved: float) -> float:
        """Seconds that some work takes at least."""
        return max(flops / self.flops, moved / self.bytes)


def measured(threads: int) -> Ceilings:
    """Both ceilings with so many threads; takes about a second. Kernels get no more from here."""
    pool(threads)
    moved = max(bandwidth(name, threads, MEMORY) for name in MOVED)
    return Ceilings(multiply_adds(threads), moved)


# ---------------------------------------------------------------------------- measurements


def multiply_adds(threads: int) -> float:
    """Operations per second of fused multiply-adds; one counts two."""
    registers = cpu().accumulators
    kernel, area = ceiling(multiply_add, registers), allocate(threads * LANES * 4)
    seconds = _least(lambda: kernel(threads, pointer(area), LANES, ROUNDS))
    return 2 * LANES * registers * ROUNDS * threads / seconds


def bandwidth(name: str, threads: int, size: int) -> float:
    """Bytes per second that threads move, each in an array of its own of so many bytes."""
    size -= size % (LANES * STREAMS * 4)
    rounds = max(1, CACHED // size)
    kernel, area = ceiling(BODIES[name]), allocate(threads * size)
    area[:] = 0  # so that it is there
    seconds = _least(lambda: kernel(threads, pointer(area), size // 4, rounds))
    return MOVED[name] * size * rounds * threads / seconds


def _least(call: Callable[[], object]) -> float:
    call()
    least, end = inf, time.perf_counter() + SPAN
    while (begin := time.perf_counter()) < end:
        call()
        least = min(least, time.perf_counter() - begin)
    return least


# ---------------------------------------------------------------------------- command


def main() -> None:
    """Measure, print a table, write the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peak", description=main.__doc__)
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="at most (default all)")
    options = parser.parse_args()
    about, counts = machine(), sorted({1, options.threads})
    pool(options.threads)
    rows = [_row(threads) for threads in counts]
    header = ["ceiling", *(f"{threads} threads" for threads in counts)]
    body = [[name, *(f"{row[name]:.1f}" for row in rows)] for name in rows[0] if name != "threads"]
    print(table(header, body))
    write("peak", about, rows=rows)


def _row(threads: int) -> Facts:
    """Billions of operations, or of bytes, per second."""
    row: Facts = {"threads": threads, "GFLOP/s": multiply_adds(threads) / 1e9}
    for place, size in _sizes().items():
        for name in MOVED:
            row[f"{name} {place}, GB/s"] = bandwidth(name, threads, size) / 1e9
    return row


def _sizes() -> dict[str, int]:
    """Bytes of each thread's array: half a core's own cache, a share of what all cores use."""
    shared = 4 * (os.cpu_count() or 1)
    found = {f"L{n}": size // (2 if n < 3 else shared) for n, size in caches().items()}
    return {**found, "memory": MEMORY}


if __name__ == "__main__":
    run(main)
