"""A CUDA kernel: its launches, shared memory and workspace.

A kernel is one or more launches; each sees all that those before it wrote. A block of threads
consists of rows (threadIdx.y), and each row of threads has 32 lanes (`lanes.py`). What a block
computes depends on nothing but its number, and no order of blocks matters.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from operator import mul
from typing import TYPE_CHECKING, Any

from tvm import DataType, tirx
from tvm.ir import PointerType
from tvm.tirx.type import TensorMapType

from codegen.kernels.cuda.lanes import Lanes
from codegen.kernels.memory import Home, Scratch
from codegen.kernels.writer import Rule
from codegen.targets import Cuda
from ir.command import Error
from ir.graph import Graph, Node
from ir.plan import TensorMap
from ir.type import TensorType

if TYPE_CHECKING:
    from codegen.kernels.cuda.tile import Tile

WARP = Cuda.lanes
_LINE = 4 * WARP  # bytes of global memory that are read at once
_MOST = 2**31 - 1  # elements of an array: indices are int32


@dataclass(frozen=True)
class Launch:
    """So many blocks of so many warps."""

    blocks: int
    warps: int


@dataclass(frozen=True)
class Built:
    """A kernel before it is compiled. `scratch` bytes are shared by all of its launches; parameter
    `map_K` is number K of `maps`. A contraction is shared out by `tile`; where it does fewer FLOPs
    than its op's formula says, there are `flops`."""

    function: Any
    scratch: int
    launches: tuple[Launch, ...]
    maps: tuple[TensorMap, ...] = ()
    tile: "Tile | None" = None
    flops: int | None = None


class Writer(Lanes):
    """Writes the kernel of one region program."""

    def __init__(self, region: Graph, target: Cuda) -> None:
        super().__init__(region)
        self.target = target
        self._workspace = self.pointer("scratch", "float32")
        self._arrays: list[tuple[Scratch, str]] = []
        self._reserved = 0
        self._launches: list[Launch] = []
        self._maps: dict[Any, TensorMap] = {}
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
        """Memory that all launches share, reserved before them; garbage at the start.

        Raises Error where an index into it would be none of int32.
        """
        size = DataType(dtype).itemsize
        if (elements := self._reserved // size + prod(shape)) > _MOST:
            raise Error(f"a workspace of {elements:,} elements, expected at most {_MOST:,}")
        array = Scratch(None, self._reserved // size, shape)
        self._arrays.append((array, dtype))
        self._reserved += -(-prod(shape) * size // _LINE) * _LINE
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
        memory = {d: self.buffer(self._workspace, (_MOST,), d) for d in dtypes}
        for array, dtype in self._arrays:
            array.memory = memory[dtype]
        self.homes = {
            node: Home(self, array or self.buffers[node]) for node, array in self.places.items()
        }

    def shared(self, *shape: int, dtype: str = "float32") -> Any:
        """An array of the block's own; it holds garbage at the start."""
        return self.allocate(shape, dtype, "shared")

    def built(self, *, noalias: bool = False) -> Built:
        """Finish. `noalias` promises that no two arguments share memory."""
        params = [*self.pointers, self._workspace, *self._maps]
        function = self.function(params, device=2, noalias=noalias)
        maps = tuple(self._maps.values())
        return Built(function, self._reserved, tuple(self._launches), maps)


Maker = Callable[[Writer, Node], Rule]
"""Launches what an op needs to have done before; the rule then gives the value at a position."""
