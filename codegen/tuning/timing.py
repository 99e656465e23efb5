"""How long kernels take on this machine."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, thread_time

import numpy as np
import tvm

from codegen.cost.count import work
from codegen.kernels import build
from codegen.kernels.cpu.writer import Built
from codegen.targets import Cpu
from ir.graph import Graph, Node
from ir.plan import Work
from runtime.cpu.library import ENVIRONMENT
from runtime.cpu.memory import allocate, pointer
from runtime.memory import Bytes

Turn = Callable[[], object]
SMALL = 1e-3
"""The deviation of what kernels compute with, so that states stay small."""


def prepare(threads: int) -> None:
    """Let kernels use so many threads; to be called before the first one runs."""
    os.environ.update(ENVIRONMENT, TVM_NUM_THREADS=str(threads))


@dataclass(frozen=True)
class Timed:
    """A kernel that can be called, what it does in all, and the bytes of its arguments."""

    call: Turn
    work: Work
    moved: int


class Bench:
    """Memory for the kernels of one region, which is random numbers; integers are zero."""

    def __init__(self, region: Graph, target: Cpu, threads: int) -> None:
        self._region, self._threads = region, threads
        nodes = (*region.leaves("input", "state"), *region.outputs)
        self._memories = [_memory(target.layout.bytes(node.type), node) for node in nodes]

    def kernel(self, target: Cpu) -> Timed:
        """Compile the region's kernel. Raises Error."""
        built = build(self._region, target)
        assert isinstance(built, Built)
        module = tvm.compile(tvm.IRModule({"kernel": built.function}), target=target.tvm())
        scratch = allocate(max(64, built.scratch + built.per_thread * self._threads))
        pointers = [pointer(memory) for memory in (scratch, *self._memories)]
        function, threads = module["kernel"], self._threads

        def call(hold: object = (module, scratch, self._memories)) -> object:
            return function(threads, *pointers)

        return Timed(call, work(built.function), sum(memory.size for memory in self._memories))


def _memory(size: int, node: Node) -> Bytes:
    room = allocate(-(-size // 4) * 4)
    if node.type.dtype.is_float:
        floats = room.view(np.float32)
        floats[...] = np.resize(np.random.default_rng(0).normal(0, SMALL, 10007), floats.shape)
    return room[:size]


def best(turns: Sequence[Turn], repeat: int, threads: int) -> list[float]:
    """Least seconds of each, who take turns; of one thread the time that it had."""
    clock = thread_time if threads == 1 else perf_counter
    return [min(each) for each in interleaved(turns, repeat, clock)]


def interleaved(
    turns: Sequence[Turn], repeat: int, clock: Callable[[], float]
) -> list[list[float]]:
    """Seconds that each of some calls takes, `repeat` times after one that does not count."""
    spent: list[list[float]] = [[] for _ in turns]
    for _ in range(repeat + 1):
        for seconds, turn in zip(spent, turns, strict=True):
            begin = clock()
            turn()
            seconds.append(clock() - begin)
    return [each[1:] for each in spent]
