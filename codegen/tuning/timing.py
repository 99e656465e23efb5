"""How long kernels take on this machine."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, thread_time

import numpy as np

from codegen.cost.count import work
from codegen.cpu import machine_code
from codegen.kernels import build
from codegen.kernels.cpu.writer import Built
from codegen.region import buffers
from codegen.targets import Cpu
from ir.graph import Graph, Node
from ir.op import Array
from ir.plan import Work
from runtime.cpu.library import ENVIRONMENT, configure_pool
from runtime.cpu.memory import allocate, pointer
from runtime.memory import DTYPES, Bytes, as_bytes
from runtime.packing import pack, unpack

Turn = Callable[[], object]
NOISE = np.random.default_rng(0).normal(0, 1e-3, 100_003).astype(np.float32)
"""What kernels compute with: small, so that states stay small, and its length a prime."""


def pool(threads: int) -> None:
    """Give kernels called from here so many threads; to be called before the first of them."""
    os.environ.update(ENVIRONMENT, TVM_NUM_THREADS=str(threads))
    configure_pool(threads)


@dataclass(frozen=True)
class Timed:
    """A kernel that can be called, what it does in all, and the bytes of its arguments."""

    call: Turn
    work: Work
    moved: int


class Bench:
    """Memory for the kernels of one region: noise at first, integers are zero."""

    def __init__(self, region: Graph, target: Cpu, threads: int) -> None:
        self._region, self._threads, self._layout = region, threads, target.layout
        self._memory = {
            node: _memory(self._layout.bytes(node.type), node) for node in buffers(region)
        }

    def kernel(self, target: Cpu) -> Timed:
        """Compile the region's kernel. Raises Error."""
        built = build(self._region, target)
        assert isinstance(built, Built)
        moved = sum(memory.size for memory in self._memory.values())
        return Timed(self.turn(built, target), work(built.function), moved)

    def turn(self, built: Built, target: Cpu) -> Turn:
        """A call of what a kernel family made of the region."""
        code, threads = machine_code(built.function, target)["kernel"], self._threads
        scratch = allocate(max(64, built.scratch + built.per_thread * threads))
        areas = (scratch, *self._memory.values())
        pointers = [pointer(area) for area in areas]

        def call(hold: object = areas) -> object:
            return code(threads, *pointers)

        return call

    def feed(self, values: Mapping[str, Array]) -> None:
        """Set operands by their names."""
        for node, memory in self._memory.items():
            if node.name in values:
                memory[:] = as_bytes(pack(values[node.name], self._layout.record(node.type)))

    def value(self, node: Node) -> Array:
        """A copy of an operand or a result."""
        stored = self._memory[node].view(DTYPES[node.type.dtype.value])
        return unpack(stored, self._layout.record(node.type)).reshape(node.type.shape)


def _memory(size: int, node: Node) -> Bytes:
    room = allocate(-(-size // 4) * 4)
    if node.type.dtype.is_float:
        floats = room.view(np.float32)
        floats[...] = np.resize(NOISE, floats.shape)
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
