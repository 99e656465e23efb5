"""What every kernel shares: its pointers, and values at a position.

A position is one vector of lanes: a block of axis 0 and an index along every other axis of a value
(`codegen/layout.py`). On a CPU a vector is a register, on a GPU it is shared by some threads.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import FunctionType
from typing import Any

from tvm import ir, tirx

from codegen.kernels import bf16
from codegen.kernels.memory import Home, Plain, Scratch
from codegen.layout import Blocked
from codegen.loops import Expr, Loops
from codegen.region import buffers, operands
from ir.graph import Graph, Node
from ir.type import DType, TensorType

HELD_DTYPE = {DType.F32: "float32", DType.U8: "uint8", DType.I32: "int32", DType.U32: "uint32"}
HELD_DTYPE |= {DType.BF16: "float32"}
"""Of a value in registers, and in a kernel's own memory."""

TIR_DTYPE = HELD_DTYPE | {DType.BF16: bf16.STORED}
"""Of the elements of an argument."""

_CHOOSING = {"relu", "relu_dx", "max_pool", "dropout"}
_CHOOSING |= {"concat", "slice", "unslice", "flatten", "unflatten"}
"""Ops of whose results each element is one of an operand's, or zero."""

Lane = Callable[[Expr], Expr]
"""A value at a position: its scalar in a given lane."""


class Writer(Loops):
    """Writes the kernel of one region program (`codegen/region.py`) for some number of lanes."""

    def __init__(self, region: Graph, lanes: int) -> None:
        super().__init__()
        self.region, self.width = region, lanes
        self.layout = Blocked(lanes)
        self.updates = {pair.value: pair.leaf for pair in region.updates}
        self.leaves = operands(region)
        self.buffers: dict[Node, Any] = {}
        self.homes: dict[Node, Home] = {}
        self._pointers = {
            node: self.pointer(node.name, TIR_DTYPE[node.type.dtype]) for node in buffers(region)
        }

    def pointer(self, name: str, dtype: str) -> Any:
        """A parameter of the kernel."""
        return tirx.Var(name, ir.PointerType(ir.PrimType(dtype)))

    @property
    def pointers(self) -> list[Any]:
        """The parameters for the region's arguments, in their order."""
        return list(self._pointers.values())

    def declare_arguments(self) -> None:
        """Make arrays of all arguments, known from here to the end of the block."""
        for node, pointer in self._pointers.items():
            dtype, plain = TIR_DTYPE[node.type.dtype], self.layout.plain(node.type)
            array = self.buffer(pointer, plain or self.layout.shape(node.type), dtype)
            self.buffers[node] = Plain(array, self.width) if plain else array
        for value, leaf in self.updates.items():
            self.buffers[value] = self.buffers[leaf]

    # ------------------------------------------------------------------------ lanes

    def each_lane(self) -> AbstractContextManager[Any]:
        """Do the body for every lane. Yields the lane's number."""
        raise NotImplementedError

    def held(self, value: Lane, dtype: str = "float32") -> Lane:
        """The same value in a register: computed once, and no later store can change it."""
        raise NotImplementedError

    def everywhere(self, value: float) -> Expr:
        """A vector with the same number in all lanes, as terms of sums have it."""
        raise NotImplementedError

    def once(self, value: Expr) -> Expr:
        """A vector that is computed once, and used several times."""
        raise NotImplementedError

    def put(self, array: Scratch, value: Expr, *indices: Expr) -> None:
        """array[indices] = value"""
        array.store(self, value, *indices)

    def row(self, home: Home, at: Sequence[Expr | Lane]) -> Lane:
        """What lies at a position of a value."""
        return lambda lane: home.load(*(at_lane(along, lane) for along in at), lane)

    def put_row(self, home: Home, at: Sequence[Expr], value: Lane) -> None:
        """Set it."""
        with self.each_lane() as lane:
            home.store(value(lane), *at, lane)

    # ------------------------------------------------------------------------ values

    def rounded(self, node: Node, value: Lane) -> Lane:
        """What was computed for a node, as its type has it: bf16 numbers stay float32."""
        if node.type.dtype is not DType.BF16 or _is_chosen(node):
            return value
        return lambda lane: bf16.rounded(value(lane))

    def element(self, node: Node, *indices: Expr) -> Expr:
        """One element of an operand, or of a value that has a home, by its logical index."""
        if not node.type.shape:
            return self.load(node)
        first, *rest = indices
        if isinstance(first, int):
            return self.load(node, first // self.width, *rest, first % self.width)
        block, lane = tirx.truncdiv(first, self.width), tirx.truncmod(first, self.width)
        return self.load(node, block, *rest, lane)

    def load(self, node: Node, *index: Expr) -> Expr:
        """The same at (block, index along axis 1, ..., lane)."""
        if node.op == "constant":
            return constant(node)
        return self.home(node).load(*index)

    def home(self, node: Node) -> Home:
        """Where a value lies: operands, and what has been stored."""
        return self.homes[node] if node in self.homes else Home(self, self.buffers[node])

    def valid_lanes(self, node: Node, block: Expr) -> Expr:
        """How many lanes of a block hold elements rather than padding."""
        return tirx.min(self.width, node.type.shape[0] - block * self.width)

    def indices(self, number: Expr, extents: Sequence[int]) -> list[Expr]:
        """The indices of element `number` of an array in row-major order."""
        found = []
        for extent in reversed(extents[1:]):
            found.append(self.let(tirx.truncmod(number, extent)))
            number = self.let(tirx.truncdiv(number, extent))
        return [number, *reversed(found)] if extents else []

    def blocks(self, type: TensorType) -> int:
        """Blocks along axis 0; 1 for a scalar."""
        return self.layout.blocks(type)


def _is_chosen(node: Node) -> bool:
    """Whether all elements are zero or an operand's, which are bf16 numbers already."""
    return node.op in _CHOOSING and all(x.type.dtype is not DType.F32 for x in node.inputs)


def constant(node: Node) -> Expr:
    """The value of a constant leaf."""
    value, dtype = node.attrs["value"], node.type.dtype
    assert isinstance(value, float)
    return bf16.constant(value) if dtype is DType.BF16 else tirx.const(value, HELD_DTYPE[dtype])


Rule = Callable[[Any, Node], Lane]
"""How a node is computed at a `Position`. It may emit statements before it returns the lane's
scalar."""


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
        self.writer = writer
        self.at: tuple[Any, ...] = tuple(at)
        self._rules = rules
        self._known: dict[Node, Lane] = dict(known or {})
        self._inside = {n for n in writer.region.nodes if n.inputs}

    def vector(self, node: Node) -> Lane:
        """The value of a node at this position: loaded, or computed from its operands."""
        if node not in self._known:
            computed = node in self._inside and node not in self.writer.homes
            value = self._computed(node) if computed else self.read(node)
            self._known[node] = self.writer.held(value, HELD_DTYPE[node.type.dtype])
        return self._known[node]

    def _computed(self, node: Node) -> Lane:
        return self.writer.rounded(node, self._rules[node.op](self, node))

    def index(self, lane: Expr) -> tuple[Expr, ...]:
        """The position as one lane sees it."""
        return tuple(at_lane(along, lane) for along in self.at)

    def read(self, node: Node) -> Lane:
        """What memory holds of a value at this position."""
        if not node.type.shape or node.op == "constant":
            return lambda lane: self.writer.load(node)
        return self.writer.row(self.writer.home(node), self.at)

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
        self.writer.put_row(home, self.at, value)

    def _padded_with_zeros(self, node: Node, value: Lane) -> Lane:
        if node.type.shape[0] % self.writer.width == 0:
            return value
        valid = self.writer.valid_lanes(node, self.at[0])
        zero = tirx.const(0, HELD_DTYPE[node.type.dtype])
        return lambda lane: tirx.Select(lane < valid, value(lane), zero)


def at_lane(along: Expr | Lane, lane: Expr) -> Expr:
    """An index as one lane sees it. (TIR variables can be called too, so ask for functions.)"""
    return along(lane) if isinstance(along, FunctionType) else along
