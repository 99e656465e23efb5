"""A CUDA kernel: its launches, warps of 32 lanes, shared memory and workspace.

A kernel is one or more launches; each sees all that those before it wrote. Lanes are elements of
axis 0, and 32 of them are a row. A launch says how many neighbouring lanes of a row a thread has,
`lanes`: the threads of a row have threadIdx.y in common, and threadIdx.x counts them. What a thread
has of a value are as many registers; rows go to and from memory in vectors. What a block
computes depends on nothing but its number, and no order of blocks matters.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from types import FunctionType
from typing import Any

from tvm import DataType

from codegen.kernels import writer
from codegen.kernels.memory import Home, Scratch
from codegen.kernels.writer import Lane, Rule, at_lane
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node
from ir.plan import TensorMap
from ir.type import TensorType

WARP = Cuda.lanes
VECTOR = 16
"""Bytes that a thread reads or writes at once, at most."""


_LINE = 128  # bytes of global memory: a row of floats


@dataclass(frozen=True)
class Launch:
    """So many blocks of so many warps."""

    blocks: int
    warps: int


@dataclass(frozen=True)
class Built:
    """A kernel before it is compiled. `scratch` bytes are shared by all of its launches; parameter
    `map_K` is number K of `maps`."""

    function: Any
    scratch: int
    launches: tuple[Launch, ...]
    maps: tuple[TensorMap, ...] = ()


class Register:
    """A float, or another scalar, of every lane's own; a `Lane` that can be set."""

    def __init__(self, w: "Writer", dtype: str) -> None:
        self._w, self._array = w, w.local(w.lanes, dtype=dtype)

    def __call__(self, lane: Expr) -> Expr:
        return self._array[self._w.own(lane)]

    def set(self, value: Expr | Lane) -> None:
        """Replace the value: by the same for all lanes, or by each lane's."""
        with self._w.each_lane() as lane:
            self._w.store(self._array, at_lane(value, lane), self._w.own(lane))


class Writer(writer.Writer):
    """Writes the kernel of one region program."""

    def __init__(self, region: Graph, target: Cuda) -> None:
        super().__init__(region, WARP)
        self.target = target
        self.lane: Expr = 0
        """The first of this thread's lanes."""
        self.lanes = 1
        """How many it has in this launch."""
        self._workspace = self.pointer("scratch", "float32")
        self._arrays: list[tuple[Scratch, str]] = []
        self._reserved = 0
        self._launches: list[Launch] = []
        self.places: dict[Node, Scratch | None] = {}
        """Where values of earlier launches lie: in the workspace, or in buffers of their own."""

    # ------------------------------------------------------------------------ launches

    @contextmanager
    def launch(self, blocks: int, warps: int, lanes: int = 1) -> Iterator[tuple[Any, Any]]:
        """One launch, whose threads have so many lanes each. Yields the block's number and, of the
        `warps * lanes` rows of a block, the number of this thread's."""
        extents = {"threadIdx_y": warps * lanes, "threadIdx_x": WARP // lanes}
        with self.launched(**extents, blockIdx_x=blocks) as (row, thread, block):
            self.lanes, self.lane = lanes, thread * lanes
            self.declare_arguments()
            yield block, row
        self._launches.append(Launch(blocks, warps))

    @contextmanager
    def tasks(self, count: int, warps: int = 8, lanes: int = 1) -> Iterator[Any]:
        """A launch with one row for each task 0 .. count - 1. Yields the task's number."""
        rows = warps * lanes
        with self.launch(-(-count // rows), warps, lanes) as (block, row):
            task = self.let(block * rows + row)
            with self.when(task < count):
                yield task

    @contextmanager
    def positions(self, type: TensorType) -> Iterator[list[Any]]:
        """A launch with one row for each vector position of a value. Yields (block, ...)."""
        extents = self.layout.shape(type)[:-1]
        with self.tasks(prod(extents)) as task:
            yield self.indices(task, extents)

    def workspace(self, *shape: int, dtype: str = "float32") -> Scratch:
        """Memory that all launches share, reserved before them; garbage at the start."""
        size = DataType(dtype).itemsize
        array = Scratch(None, self._reserved // size, shape)
        self._arrays.append((array, dtype))
        self._reserved += -(-prod(shape) * size // _LINE) * _LINE
        return array

    def declare_arguments(self) -> None:
        super().declare_arguments()
        dtypes = dict.fromkeys(dtype for _, dtype in self._arrays)
        memory = {d: self.buffer(self._workspace, (2**31 - 1,), d) for d in dtypes}
        for array, dtype in self._arrays:
            array.memory = memory[dtype]
        self.homes = {
            node: Home(self, array or self.buffers[node]) for node, array in self.places.items()
        }

    def shared(self, *shape: int, dtype: str = "float32") -> Any:
        """An array of the block's own; it holds garbage at the start."""
        return self.allocate(shape, dtype, "shared")

    def local(self, *shape: int, dtype: str = "float32") -> Any:
        return self.allocate(shape, dtype, "local")

    def register(self, dtype: str = "float32") -> Register:
        """A scalar that can be set."""
        return Register(self, dtype)

    # ------------------------------------------------------------------------ lanes

    @contextmanager
    def each_lane(self) -> Iterator[Any]:
        """Do the body for every lane of this thread. Yields the lane's number."""
        if self.lanes == 1:
            yield self.lane
        else:
            with self.unrolled(self.lanes) as number:
                yield self.lane + number

    def own(self, lane: Expr) -> Expr:
        """The number of a lane among this thread's."""
        return 0 if self.lanes == 1 else lane - self.lane

    def held(self, value: Lane, dtype: str = "float32") -> Lane:
        # Not a variable: TVM would put its value in place of every use.
        kept = self.register(dtype)
        kept.set(lambda lane: value(lane))
        # A plain function, which an index may be too.
        return lambda lane: kept(lane)

    def fixed(self, value: Expr) -> Expr:
        """An integer in a register: TVM would put what a `let` stands for in place of each use."""
        kept = self.local(1, dtype="int32")
        self.store(kept, value, 0)
        return kept[0]

    # ------------------------------------------------------------------------ rows

    def row(self, home: Home, at: Sequence[Expr | Lane]) -> Lane:
        if not self._is_vector(home, at):
            return super().row(home, at)
        held = self.local(self.lanes, dtype=home.dtype)
        for begin, count in self._vectors(home):
            with self.vector(count) as i:
                element = home.element(*at, self.lane + begin + i)
                self.store(held, element, begin + i)
        return lambda lane: home.number(held[self.own(lane)])

    def put_row(self, home: Home, at: Sequence[Expr], value: Lane) -> None:
        if not self._is_vector(home, at):
            super().put_row(home, at, value)
            return
        held = self.local(self.lanes, dtype=home.dtype)
        with self.each_lane() as lane:
            self.store(held, home.bits(value(lane)), self.own(lane))
        for begin, count in self._vectors(home):
            with self.vector(count) as i:
                home.put(held[begin + i], *at, self.lane + begin + i)

    def _is_vector(self, home: Home, at: Sequence[Expr | Lane]) -> bool:
        """Whether this thread's lanes lie side by side."""
        together = not any(isinstance(along, FunctionType) for along in at)
        return self.lanes > 1 and home.in_rows and together

    def _vectors(self, home: Home) -> Iterator[tuple[int, int]]:
        """(begin, count) of the lanes that go to or from memory at once."""
        count = min(self.lanes, VECTOR // DataType(home.dtype).itemsize)
        return ((begin, count) for begin in range(0, self.lanes, count))

    def built(self, *, noalias: bool = False) -> Built:
        """Finish. `noalias` promises that no two arguments share memory."""
        params = [*self.pointers, self._workspace]
        function = self.function(params, device=2, noalias=noalias)
        return Built(function, self._reserved, tuple(self._launches))


Maker = Callable[[Writer, Node], Rule]
"""Launches what an op needs to have done before; the rule then gives the value at a position."""
