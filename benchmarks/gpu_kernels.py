"""How fast every kernel of a plan is on a GPU, one by one, within a graph as in a step."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.gpu_ceilings import Ceilings
from ir.plan import Plan, Run, folder, read
from ir.type import DType
from runtime.devices import open_executor
from runtime.executor import Executor
from tests.gpu.single import places, region_of, single, timed

TIMES, RUNS = 10, 3
"""Launches in a graph; graphs that are timed together."""
CHUNK = 1 << 24
SHOWN = 30


@dataclass(frozen=True)
class Row:
    """A kernel: how often a step calls it, and seconds, operations and bytes of one call."""

    kernel: str
    calls: int
    seconds: float
    flops: int
    bytes: int

    def least(self, ceilings: Ceilings) -> float:
        """Seconds that the card's ceilings allow."""
        return max(self.flops / ceilings.flops, self.bytes / ceilings.bytes)

    def facts(self, ceilings: Ceilings) -> dict[str, object]:
        """For JSON."""
        return {
            "kernel": self.kernel,
            "calls": self.calls,
            "seconds": self.seconds,
            "flops": self.flops,
            "bytes": self.bytes,
            "of ceiling": self.least(ceilings) / self.seconds,
        }


def measured(path: Path) -> list[Row]:
    """The kernels of a training step, those that take most of it first."""
    plan = read(path)
    calls = Counter(s.kernel for s in plan.programs["train"].steps if isinstance(s, Run))
    with open_executor(single(plan, TIMES), folder(path)) as executor:
        _fill(executor)
        rows = [_row(executor, plan, path, name, calls[name]) for name in calls]
    return sorted(rows, key=lambda row: -row.calls * row.seconds)


def _row(executor: Executor, plan: Plan, path: Path, name: str, calls: int) -> Row:
    _clear_integers(executor, path, name)
    kernel = plan.kernels[name]
    seconds = timed(executor, name, RUNS) / TIMES
    return Row(name, calls, seconds, kernel.flops, kernel.moved)


def _fill(executor: Executor) -> None:
    """Small random numbers everywhere: zeros could be faster, large ones would grow."""
    size = executor.plan.devices[0].arena
    noise = np.random.default_rng(0).normal(0, 1e-2, CHUNK // 4).astype(np.float32).view(np.uint8)
    for offset in range(0, size, CHUNK):
        executor.memories[0].write(offset, noise[: min(CHUNK, size - offset)])


def _clear_integers(executor: Executor, path: Path, name: str) -> None:
    """Labels, places and counters must lie in their ranges."""
    region = region_of(path, name)
    nodes = (*region.leaves("input", "state"), *region.outputs)
    kernel = executor.plan.kernels[name]
    for node, place, argument in zip(nodes, places(kernel), kernel.arguments, strict=False):
        if node.type.dtype is not DType.F32:
            executor.memories[0].write(place, np.zeros(argument.bytes, np.uint8))


def table(rows: Sequence[Row], ceilings: Ceilings) -> Iterator[str]:
    """Lines for people; the last one is of all kernels together."""
    total = sum(row.calls * row.seconds for row in rows)
    least = sum(row.calls * row.least(ceilings) for row in rows)
    yield f"{'kernel':44} calls {'us':>8}  share {'GFLOP/s':>8} {'GB/s':>6} of max"
    for row in rows[:SHOWN]:
        rates = f"{row.flops / row.seconds / 1e9:8.0f} {row.bytes / row.seconds / 1e9:6.0f}"
        share, of_ceiling = row.calls * row.seconds / total, row.least(ceilings) / row.seconds
        shown = f"{row.kernel[:44]:44} {row.calls:5} {1e6 * row.seconds:8.1f} {share:6.1%}"
        yield f"{shown} {rates} {of_ceiling:6.0%}"
    yield f"{len(rows)} kernels, {1e3 * total:.3f} ms a step, {least / total:.0%} of the ceilings"
