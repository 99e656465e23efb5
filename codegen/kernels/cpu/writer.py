"""A CPU kernel: its tasks, its scratch, vectors of 16 lanes.

A kernel is `kernel(threads, scratch, *pointers)`. Work is a number of independent tasks, dealt to
the threads in contiguous runs. Many threads may get smaller tasks, but each element of a result is
summed in one task, always in the same order, so results do not depend on the number of threads.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from codegen.kernels import writer
from codegen.kernels.memory import Scratch
from codegen.kernels.ranges import Range
from codegen.kernels.writer import Lane
from codegen.layout import Blocked
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph
from ir.type import TensorType

LANES = Cpu.lanes

TASKS = 2
"""Tasks of each thread at least, so that none waits long for the others."""


@dataclass(frozen=True)
class Built:
    """A kernel before it is compiled. Its threads share `scratch` bytes; each has `per_thread`
    more."""

    function: Any
    scratch: int
    per_thread: int


class Writer(writer.Writer):
    """Writes the kernel of one region program."""

    def __init__(self, region: Graph, target: Cpu) -> None:
        self.target = target
        super().__init__(region, LANES)
        self.declare_arguments()
        self.threads = self.var("threads")
        self._scratch_pointer = self.pointer("scratch", "float32")
        self._per_thread, self._common = self.var("per_thread"), self.var("common")
        self._reserved = self._shared = 0
        self._base: Expr = 0
        self._memory = self.buffer(self._scratch_pointer, (2**31 - 1,), "float32")

    def each_lane(self) -> AbstractContextManager[Any]:
        return self.lanes()

    def lanes(self, count: int = LANES) -> AbstractContextManager[Any]:
        """One vector instruction for all lanes."""
        return self.vector(count)

    def held(self, value: Lane, dtype: str = "float32") -> Lane:
        register = self.local(LANES, dtype=dtype)
        with self.lanes() as lane:
            self.store(register, value(lane), lane)
        return lambda lane: register[lane]

    def everywhere(self, value: float) -> Expr:
        return tirx.Broadcast(tirx.const(value, "float32"), LANES)

    def once(self, value: Expr) -> Expr:
        return self.let(value, f"float32x{LANES}")

    # ------------------------------------------------------------------------ tasks

    @contextmanager
    def tasks(self, count: int) -> Iterator[Any]:
        """Do the body for each task 0 .. count - 1, in parallel. Yields the task's number.

        A kernel may have several phases of tasks; each begins when the one before is done.
        """
        with self.parallel(self.threads) as thread:
            self._base = self.let(self._common + thread * self._per_thread)
            begin = self.let(thread * count // self.threads)
            end = self.let((thread + 1) * count // self.threads)
            with self.serial(end - begin, begin) as task:
                yield task
        self._base = 0

    def cuts(self, tasks: Expr, least: int, most: int) -> Expr:
        """Into how many parts to cut each of some tasks, for all threads to have enough.

        Between `least` and `most`. For work that costs more the finer it is cut. No value may
        depend on where the cuts are: their number depends on that of the threads.
        """
        wanted = (TASKS * self.threads + tasks - 1) // tasks
        return self.opaque(tirx.min(most, tirx.max(least, wanted)))

    def part(self, total: Expr, number: Expr, count: Expr) -> Range:
        """One of `count` near-equal parts of a range."""
        begin, end = (self.opaque(total * (number + i) // count) for i in range(2))
        return begin, end

    def scratch(self, *shape: int, skew: int = 0) -> Scratch:
        """Reserve memory of one thread's own; call it inside `tasks`."""
        array = Scratch(self._memory, self._base + self._reserved, shape, skew)
        self._reserved += -(-array.size // LANES) * LANES
        return array

    def shared(self, *shape: int, skew: int = 0) -> Scratch:
        """Reserve memory that all threads share, throughout the kernel."""
        array = Scratch(self._memory, self._shared, shape, skew)
        self._shared += -(-array.size // LANES) * LANES
        return array

    def built(self, *, noalias: bool = False) -> Built:
        """Finish. `noalias` promises that no two arguments share memory."""
        sizes = {self._per_thread: self._reserved, self._common: self._shared}
        for var, size in sizes.items():
            self._blocks[0].insert(0, tirx.Bind(var, tirx.const(size, "int32")))
        params = [self.threads, self._scratch_pointer, *self.pointers]
        function = self.function(params, device=1, noalias=noalias)
        return Built(function, 4 * self._shared, 4 * self._reserved)


def blocks(type: TensorType) -> int:
    """Blocks of 16 along axis 0; 1 for a scalar."""
    return Blocked(LANES).blocks(type)
