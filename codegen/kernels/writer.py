"""What every kernel shares: its pointers, its tasks, its scratch, and values at a position.

A kernel is `kernel(threads, scratch, *pointers)`. Work is a number of independent tasks, dealt to
the threads in contiguous runs; what a task computes depends on nothing but its number, so results
do not depend on the number of threads. A position is one vector of 16 lanes: a block of axis 0 and
an index along every other axis of a value (`codegen/layout.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from types import FunctionType
from typing import Any

from tvm import ir, tirx

from codegen.kernels.memory import Home, Scratch
from codegen.layout import LANES, physical_bytes, physical_shape
from codegen.loops import Expr, Loops
from codegen.targets import Target
from ir.graph import Graph, Node
from ir.type import DType

TIR_DTYPE = {DType.F32: "float32", DType.U8: "uint8", DType.I32: "int32", DType.U32: "uint32"}

Lane = Callable[[Expr], Expr]
"""A value at a position: its scalar in a given lane."""


@dataclass(frozen=True)
class Built:
    """A kernel before it is compiled. `scratch` is what one thread needs, in bytes."""

    function: Any
    scratch: int


class Writer(Loops):
    """Writes the kernel of one region program (`codegen/region.py`)."""

    def __init__(self, region: Graph, target: Target) -> None:
        super().__init__()
        self.region, self.target = region, target
        self.updates = {pair.value: pair.leaf for pair in region.updates}
        self.leaves = region.leaves("input", "state")
        self.threads = self.var("threads")
        self._scratch_pointer = self._pointer("scratch", "float32")
        self._per_thread = self.var("per_thread")
        self._reserved = 0
        self._base: Expr = 0
        self.buffers: dict[Node, Any] = {}
        self.homes: dict[Node, Home] = {}
        self._pointers = [self._argument(node) for node in (*self.leaves, *region.outputs)]
        for value, leaf in self.updates.items():
            self.buffers[value] = self.buffers[leaf]
        self._memory = self.buffer(self._scratch_pointer, (2**31 - 1,), "float32")

    def _pointer(self, name: str, dtype: str) -> Any:
        return tirx.Var(name, ir.PointerType(ir.PrimType(dtype)))

    def _argument(self, node: Node) -> Any:
        dtype = TIR_DTYPE[node.type.dtype]
        pointer = self._pointer(node.name, dtype)
        self.buffers[node] = self.buffer(pointer, physical_shape(node.type), dtype)
        return pointer

    # ------------------------------------------------------------------------ tasks

    @contextmanager
    def tasks(self, count: int) -> Iterator[Any]:
        """Do the body for each task 0 .. count - 1, in parallel. Yields the task's number.

        A kernel may have several phases of tasks; each begins when the one before is done.
        """
        with self.parallel(self.threads) as thread:
            self._base = self.let(thread * self._per_thread)
            begin = self.let(thread * count // self.threads)
            end = self.let((thread + 1) * count // self.threads)
            with self.serial(end - begin, begin) as task:
                yield task
        self._base = 0

    def scratch(self, *shape: int) -> Scratch:
        """Reserve memory of one thread's own; call it inside `tasks`."""
        array = Scratch(self._memory, self._base + self._reserved, shape)
        self._reserved += -(-prod(shape) // LANES) * LANES
        return array

    def put(self, array: Scratch, value: Expr, *indices: Expr) -> None:
        """array[indices] = value"""
        array.store(self, value, *indices)

    def built(self, *, noalias: bool = False) -> Built:
        """Finish. `noalias` promises that no two arguments share memory."""
        self._blocks[0].insert(0, tirx.Bind(self._per_thread, tirx.const(self._reserved, "int32")))
        params = [self.threads, self._scratch_pointer, *self._pointers]
        return Built(self.function(params, noalias=noalias), 4 * self._reserved)

    # ------------------------------------------------------------------------ values

    def element(self, node: Node, *indices: Expr) -> Expr:
        """One element of an operand, or of a value that has a home, by its logical index."""
        if not node.type.shape:
            return self.load(node)
        first, *rest = indices
        if isinstance(first, int):
            return self.load(node, first // LANES, *rest, first % LANES)
        return self.load(node, tirx.truncdiv(first, LANES), *rest, tirx.truncmod(first, LANES))

    def load(self, node: Node, *index: Expr) -> Expr:
        """The same at (block, index along axis 1, ..., lane)."""
        if node.op == "constant":
            return constant(node)
        if node in self.homes:
            return self.homes[node].load(*index)
        return self.buffers[node][index or (0,)]

    def valid_lanes(self, node: Node, block: Expr) -> Expr:
        """How many lanes of a block hold elements rather than padding."""
        return tirx.min(LANES, node.type.shape[0] - block * LANES)

    @property
    def moved(self) -> int:
        """Bytes of all arguments."""
        return sum(physical_bytes(node.type) for node in (*self.leaves, *self.region.outputs))


def constant(node: Node) -> Expr:
    """The value of a constant leaf."""
    return tirx.const(node.attrs["value"], TIR_DTYPE[node.type.dtype])


Rule = Callable[["Position", Node], Lane]
"""How one pointwise op is computed. It may emit statements before it returns the lane's scalar."""


class Position:
    """The values of a region at one vector position, each computed at most once.

    `at` is (block, index along axis 1, ...), each the same for all lanes or a function of the
    lane; () for a scalar. Make one inside the loops that run over positions; what it emits goes
    there. `known` gives values that are at hand already, as register arrays.
    """

    def __init__(
        self,
        writer: Writer,
        rules: dict[str, Rule],
        at: Sequence[Expr | Lane],
        known: dict[Node, Lane] | None = None,
    ) -> None:
        self.writer, self.at = writer, tuple(at)
        self._rules = rules
        self._known: dict[Node, Lane] = dict(known or {})
        self._inside = {n for n in writer.region.nodes if n.inputs}

    def vector(self, node: Node) -> Lane:
        """The value of a node at this position: loaded, or computed from its operands."""
        if node not in self._known:
            computed = node in self._inside and node not in self.writer.homes
            rule = self._rules[node.op] if computed else _load
            self._known[node] = self.held(node, rule(self, node))
        return self._known[node]

    def held(self, node: Node, value: Lane) -> Lane:
        """Keep a value in registers, so that no later store can change it."""
        register = self.writer.local(LANES, dtype=TIR_DTYPE[node.type.dtype])
        with self.writer.lanes() as lane:
            self.writer.store(register, value(lane), lane)
        return lambda lane: register[lane]

    def index(self, lane: Expr) -> tuple[Expr, ...]:
        """The position as one lane sees it."""
        return tuple(at_lane(along, lane) for along in self.at)

    def elsewhere(self, at: Sequence[Expr | Lane]) -> "Position":
        """Another position of the same region, with nothing known yet."""
        return Position(self.writer, self._rules, at)

    def write(self, nodes: Sequence[Node]) -> None:
        """Compute all the nodes, then store them: an update may overwrite what others read."""
        values = [self.vector(node) for node in nodes]
        for node, value in zip(nodes, values, strict=True):
            self.store(node, Home(self.writer, self.writer.buffers[node]), value)

    def store(self, node: Node, home: Home, value: Lane) -> None:
        """Put a value where it belongs. The padding of a state is zero and stays so."""
        if not self.at:
            home.store(value(0))
            return
        value = self._padded_with_zeros(node, value) if node in self.writer.updates else value
        with self.writer.lanes() as lane:
            home.store(value(lane), *self.at, lane)

    def _padded_with_zeros(self, node: Node, value: Lane) -> Lane:
        if node.type.shape[0] % LANES == 0:
            return value
        valid = self.writer.valid_lanes(node, self.at[0])
        zero = tirx.const(0, TIR_DTYPE[node.type.dtype])
        return lambda lane: tirx.Select(lane < valid, value(lane), zero)


def at_lane(along: Expr | Lane, lane: Expr) -> Expr:
    """An index as one lane sees it. (TIR variables can be called too, so ask for functions.)"""
    return along(lane) if isinstance(along, FunctionType) else along


def _load(position: Position, node: Node) -> Lane:
    if not node.type.shape:
        return lambda lane: position.writer.element(node)
    return lambda lane: position.writer.load(node, *position.index(lane), lane)
