"""What a maker sees: one node to be made for one block, where its operands are, where it goes.

A maker computes an op that needs more than one element of its operand. It loops over the positions
it is asked for and puts every value once, complete.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from codegen.kernels.cpu.writer import Writer
from codegen.kernels.memory import Home
from codegen.kernels.ranges import Range, difference
from codegen.kernels.writer import Lane
from codegen.loops import Expr
from ir.graph import Node


@dataclass(frozen=True)
class Stage:
    """Make `node` in one block: of axis 1 some `maps` from `first_map` on, of axis 2 the rows
    `rows` only, at most `most_rows` of them."""

    writer: Writer
    node: Node
    block: Expr
    first_map: Expr
    maps: int
    rows: Range
    most_rows: int
    sink: Callable[[tuple[Expr, ...], Lane], None]
    homes: Iterable[Home]

    def put(self, value: Lane, *at: Expr) -> None:
        """The value at (block, *at) is complete."""
        self.sink((self.block, *at) if self.node.type.shape else (), value)

    def operand(self, place: int, *at: Expr) -> Lane:
        """An operand at (block, *at)."""
        x = self.node.inputs[place]
        return lambda lane: self.writer.load(x, self.block, *at, lane)

    def prefetch(self, place: int, *at: Expr) -> None:
        """Have an operand at (block, *at) at hand soon."""
        x = self.node.inputs[place]
        if x.op != "constant":
            self.writer.prefetch(self.writer.load(x, self.block, *at, 0))

    def prefetch_results(self, *at: Expr) -> None:
        """Have the memory of what is put at (block, *at) at hand soon."""
        for home in self.homes:
            self.writer.prefetch(home.load(self.block, *at, 0), write=True)

    def register(self, value: Lane) -> Lane:
        """Keep a value in a register."""
        return self.writer.held(value)

    @contextmanager
    def every_map(self) -> Iterator[Expr]:
        """Loop over the maps that are asked for."""
        with self.writer.serial(self.maps, self.first_map) as c:
            yield c

    @contextmanager
    def every_row(self) -> Iterator[Expr]:
        """Loop over the rows that are asked for."""
        with self.writer.serial(difference(self.rows[1], self.rows[0]), self.rows[0]) as row:
            yield row

    @contextmanager
    def every(self, *extents: Expr) -> Iterator[list[Expr]]:
        """Nested loops."""
        with nested(self.writer, extents) as indices:
            yield indices


Maker = Callable[[Stage], None]


@contextmanager
def nested(w: Writer, extents: Sequence[Expr]) -> Iterator[list[Expr]]:
    """A loop for each extent."""
    with ExitStack() as loops:
        yield [loops.enter_context(w.serial(extent)) for extent in extents]
