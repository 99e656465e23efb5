"""What a thread has of a row: some neighbouring lanes, in registers and as vectors of memory.

A row is the 32 elements of axis 0 at one position. Threads share it: with one lane each they are a
warp; with four lanes each, a warp has four rows, and a thread reads and writes 16 bytes of floats
at once; with eight, 16 bytes of bf16. Every launch says how many lanes its threads have.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from tvm import DataType, tirx

from codegen.kernels import bf16, writer
from codegen.kernels.memory import Home
from codegen.kernels.writer import Lane, at_lane
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph

VECTOR = 16
"""Bytes that a thread reads or writes at once, at most."""


class Register:
    """A float, or another scalar, of every lane's own; a `Lane` that can be set."""

    def __init__(self, w: "Lanes", dtype: str) -> None:
        self._w, self._array = w, w.local(w.lanes, dtype=dtype)

    def __call__(self, lane: Expr) -> Expr:
        return self._array[self._w.own(lane)]

    def set(self, value: Expr | Lane) -> None:
        """Replace the value: by the same for all lanes, or by each lane's."""
        with self._w.each_lane() as lane:
            self._w.store(self._array, at_lane(value, lane), self._w.own(lane))


class Lanes(writer.Writer):
    """A writer of kernels whose threads have `lanes` lanes, `lane` and those after it."""

    def __init__(self, region: Graph) -> None:
        super().__init__(region, Cuda.lanes)
        self.lane: Expr = 0
        self.lanes = 1

    @contextmanager
    def each_lane(self) -> Iterator[Any]:
        if self.lanes == 1:
            yield self.lane
        else:
            with self.unrolled(self.lanes) as number:
                yield self.lane + number

    def own(self, lane: Expr) -> Expr:
        """The number of a lane among this thread's."""
        return 0 if self.lanes == 1 else lane - self.lane

    @contextmanager
    def spread(self, lanes: int) -> Iterator[Expr]:
        """Have the threads of a row share several instead, for each has so many lanes of one of
        them. Yields which. What is in registers cannot be met meanwhile."""
        lane, fewer = self.lane, self.lanes
        thread, threads = tirx.truncdiv(lane, fewer), self.width // lanes
        self.lanes, self.lane = lanes, tirx.truncmod(thread, threads) * lanes
        yield tirx.truncdiv(thread, threads)
        self.lanes, self.lane = fewer, lane

    # ------------------------------------------------------------------------ registers

    def local(self, *shape: int, dtype: str = "float32") -> Any:
        return self.allocate(shape, dtype, "local")

    def register(self, dtype: str = "float32") -> Register:
        """A scalar of each lane that can be set."""
        return Register(self, dtype)

    def held(self, value: Lane, dtype: str = "float32") -> Lane:
        # Not a variable: TVM would put its value in place of every use.
        kept = self.register(dtype)
        kept.set(lambda lane: value(lane))
        # A plain function, which an index may be too.
        return lambda lane: kept(lane)

    def everywhere(self, value: float) -> Expr:
        return tirx.const(value, "float32")

    def once(self, value: Expr) -> Expr:
        return self.held(lambda lane: value)(self.lane)

    def fixed(self, value: Expr) -> Expr:
        """An integer in a register: TVM would put what a `let` stands for in place of each use."""
        kept = self.local(1, dtype="int32")
        self.store(kept, value, 0)
        return kept[0]

    # ------------------------------------------------------------------------ memory

    def row(self, home: Home, at: Sequence[Expr | Lane]) -> Lane:
        if not self._is_together(home, at):
            return super().row(home, at)
        held = self.local(self.lanes, dtype=home.dtype)
        for begin, count in self._vectors(home):
            with self.vector(count) as i:
                element = home.element(*at, self.lane + begin + i)
                self.store(held, element, begin + i)
        if home.dtype == bf16.STORED:
            address = self.address(held, 0, 1)
            return lambda lane: bf16.number_among(address, self.own(lane))
        return lambda lane: home.number(held[self.own(lane)])

    def put_row(self, home: Home, at: Sequence[Expr], value: Lane) -> None:
        """Store this thread's lanes of a row, as vectors where they lie side by side."""
        if not self._is_together(home, at):
            super().put_row(home, at, value)
            return
        held = self.local(self.lanes, dtype=home.dtype)
        if home.dtype == bf16.STORED:
            self._round(value, held)
        else:
            with self.each_lane() as lane:
                self.store(held, value(lane), self.own(lane))
        for begin, count in self._vectors(home):
            with self.vector(count) as i:
                home.put(held[begin + i], *at, self.lane + begin + i)

    def _round(self, value: Lane, held: Any) -> None:
        """Set an array to the bf16 bits of all lanes, two by an instruction."""
        with self.unrolled(self.lanes // 2) as pair:
            first = self.lane + 2 * pair
            self.call("bf16_pair", self.address(held, 2 * pair, 1), value(first), value(first + 1))

    def _is_together(self, home: Home, at: Sequence[Expr | Lane]) -> bool:
        """Whether this thread's lanes lie side by side, and there are several."""
        alike = not any(isinstance(along, FunctionType) for along in at)
        return self.lanes > 1 and home.in_rows and alike

    def _vectors(self, home: Home) -> Iterator[tuple[int, int]]:
        """(begin, count) of the lanes that go to or from memory at once."""
        count = min(self.lanes, VECTOR // DataType(home.dtype).itemsize)
        return ((begin, count) for begin in range(0, self.lanes, count))
