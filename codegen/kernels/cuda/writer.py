"""A CUDA kernel: its launches, warps of 32 lanes, shared memory and workspace.

A kernel is one or more launches; each sees all that those before it wrote. A thread is one lane of
a warp (threadIdx.x), a block some warps (threadIdx.y), and lanes are elements of axis 0. What a
block computes depends on nothing but its number, and no order of blocks matters.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from operator import mul
from typing import Any

from tvm import tirx
from tvm.ir import PointerType
from tvm.tirx.type import TensorMapType

from codegen.kernels import writer
from codegen.kernels.memory import Home, Scratch
from codegen.kernels.writer import Lane, Rule
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph, Node
from ir.plan import TensorMap
from ir.type import TensorType

WARP = Cuda.lanes


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
    """A float, or another scalar, of every thread's own; a `Lane` that can be set."""

    def __init__(self, w: "Writer", dtype: str) -> None:
        self._w, self._array = w, w.local(1, dtype=dtype)

    def __call__(self, lane: Expr) -> Expr:
        return self._array[0]

    def set(self, value: Expr) -> None:
        """Replace the value."""
        self._w.store(self._array, value, 0)


class Writer(writer.Writer):
    """Writes the kernel of one region program."""

    def __init__(self, region: Graph, target: Cuda) -> None:
        super().__init__(region, WARP)
        self.target = target
        self.lane: Expr = 0
        self._workspace = self.pointer("scratch", "float32")
        self._arrays: list[tuple[Scratch, str]] = []
        self._reserved = 0
        self._launches: list[Launch] = []
        self._maps: dict[Any, TensorMap] = {}
        self.places: dict[Node, Scratch | None] = {}
        """Where values of earlier launches lie: in the workspace, or in buffers of their own."""

    # ------------------------------------------------------------------------ launches

    @contextmanager
    def launch(self, blocks: int, warps: int) -> Iterator[tuple[Any, Any]]:
        """One launch. Yields the block's number and the warp's number in its block."""
        with self.launched(threadIdx_y=warps, threadIdx_x=WARP, blockIdx_x=blocks) as indices:
            warp, self.lane, block = indices
            self.declare_arguments()
            yield block, warp
        self._launches.append(Launch(blocks, warps))

    @contextmanager
    def tasks(self, count: int, warps: int = 8) -> Iterator[Any]:
        """A launch with one warp for each task 0 .. count - 1. Yields the task's number."""
        with self.launch(-(-count // warps), warps) as (block, warp):
            task = self.let(block * warps + warp)
            with self.when(task < count):
                yield task

    @contextmanager
    def positions(self, type: TensorType) -> Iterator[list[Any]]:
        """A launch with one warp for each vector position of a value. Yields (block, ...)."""
        extents = self.layout.shape(type)[:-1]
        with self.tasks(prod(extents)) as task:
            yield self.indices(task, extents)

    def workspace(self, *shape: int, dtype: str = "float32") -> Scratch:
        """Memory that all launches share, reserved before them; garbage at the start."""
        array = Scratch(None, self._reserved, shape)
        self._arrays.append((array, dtype))
        self._reserved += -(-prod(shape) // WARP) * WARP
        return array

    def tensor_map(self, array: Any, box: Sequence[int], swizzle: int) -> Any:
        """A parameter that the GPU copies boxes of an argument's array by; the box's extents, like
        the array's, are named outermost first."""
        place, node = next(
            (place, node)
            for place, node in enumerate(self._pointers)
            if self.buffers[node] is array
        )
        extents = self.layout.shape(node.type)
        strides = accumulate(reversed(extents[1:]), mul, initial=node.type.dtype.bytes)
        map = TensorMap(
            argument=place,
            extents=tuple(reversed(extents)),
            strides=tuple(strides)[1:],
            box=tuple(reversed(box)),
            swizzle=swizzle,
        )
        pointer = tirx.Var(f"map_{len(self._maps)}", PointerType(TensorMapType()))
        self._maps[pointer] = map
        return tirx.address_of(pointer)

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
        yield self.lane

    def held(self, value: Lane, dtype: str = "float32") -> Lane:
        # Not a variable: TVM would put its value in place of every use.
        kept = self.register(dtype)
        kept.set(value(self.lane))
        # A plain function, which an index may be too.
        return lambda lane: kept(lane)

    def everywhere(self, value: float) -> Expr:
        return tirx.const(value, "float32")

    def once(self, value: Expr) -> Expr:
        return self.held(lambda lane: value)(self.lane)

    def fixed(self, value: Expr) -> Expr:
        """An integer in a register: TVM would put what a `let` stands for in place of each use."""
        return self.held(lambda lane: value, "int32")(self.lane)

    def built(self, *, noalias: bool = False) -> Built:
        """Finish. `noalias` promises that no two arguments share memory."""
        params = [*self.pointers, self._workspace, *self._maps]
        function = self.function(params, device=2, noalias=noalias)
        maps = tuple(self._maps.values())
        return Built(function, 4 * self._reserved, tuple(self._launches), maps)


Maker = Callable[[Writer, Node], Rule]
"""Launches what an op needs to have done before; the rule then gives the value at a position."""
