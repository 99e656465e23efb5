"""The way of operands to tensor cores: from memory into a ring of chunks in shared memory.

Copies are asynchronous: while one chunk is multiplied, those after it are on their way. Here
threads copy; `tma` has the GPU copy whole boxes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tvm import tirx

from codegen.kernels.cuda.operand import At, Element, Run, when
from codegen.kernels.cuda.tensor.tile import WORD, TensorTile
from codegen.kernels.cuda.writer import WARP, Writer
from codegen.loops import Expr


class Ring:
    """One operand's chunks, of rows (`place` 0) or columns (1), in the block's shared memory."""

    def __init__(
        self, w: Writer, tile: TensorTile, array: Any, place: int, run: Run, warp: Expr
    ) -> None:
        self._w, self._array, self._run, self._place = w, array, run, place
        self._bytes = tile.size.form.bytes
        self._lines, self._stage = tile.lines[place], tile.words
        self._base = tile.lines[0].words * place
        self._depth, self._extent = tile.size.depth, tile.spans[place]
        self._thread, self._threads = warp * WARP + w.lane, tile.warps * WARP

    def begin(self, slot: Expr) -> Expr:
        """The first word of a slot's chunk."""
        return slot * self._stage + self._base

    def load(self, slot: Expr, at: At) -> None:
        """Have this thread's part of a chunk copied into a slot."""
        raise NotImplementedError

    def round(self, slot: Expr) -> None:
        """Round to tf32 this thread's part of a slot's chunk."""
        raise NotImplementedError


class ThreadRing(Ring):
    """Every thread copies some elements."""

    @property
    def _unit(self) -> int:
        """Elements that are copied at once: of two bytes nothing less than a pair."""
        return max(self._run.width, WORD // self._bytes)

    def load(self, slot: Expr, at: At) -> None:
        """Have this thread's elements copied."""
        with self._each() as (step, extent):
            place = self.begin(slot) + self._lines.word(step, extent)
            if self._run.width == self._unit:
                self._copy(place, at(step, extent))
            else:
                beside = (step + 1, extent) if self._run.flipped else (step, extent + 1)
                self._join(place, at(step, extent), at(*beside))

    def round(self, slot: Expr) -> None:
        """Round what this thread had copied."""
        with self._each() as (step, extent):
            words = self._unit * self._bytes // WORD
            place = self.begin(slot) + self._lines.word(step, extent)
            self._w.call(f"round_copied_{words}", self._w.address(self._array, place, words))

    def _copy(self, place: Expr, element: Element) -> None:
        w, size = self._w, self._unit * self._bytes
        valid = tirx.all(*element.valid) if element.valid else tirx.const(True, "bool")
        to = w.address(self._array, place, size // WORD)
        source = tirx.address_of(element.run(self._unit))
        w.call(f"copy_async_{size}", to, source, tirx.Cast("int32", valid))

    def _join(self, place: Expr, low: Element, high: Element) -> None:
        """Two elements that lie apart, as one word."""
        w, halves = self._w, [self._w.register("uint32") for _ in range(2)]
        for half, element in zip(halves, (low, high), strict=True):
            half.set(tirx.const(0, "uint32"))
            with when(w, element.valid):
                half.set(tirx.Cast("uint32", element.array[element.index]))
        word = halves[0](0) | (halves[1](0) << tirx.const(16, "uint32"))
        w.call("put_word", w.address(self._array, place, 1), word)

    @contextmanager
    def _each(self) -> Iterator[tuple[Expr, Expr]]:
        """For each of the thread's units: the step and the row (or column) that it begins with."""
        w, units = self._w, self._depth * self._extent // self._unit
        turns = -(-units // self._threads)
        with w.unrolled(turns) as turn:
            unit = turn * self._threads + self._thread
            with when(w, () if turns * self._threads == units else (unit < units,)):
                length = (self._depth if self._run.flipped else self._extent) // self._unit
                line, along = tirx.truncdiv(unit, length), tirx.truncmod(unit, length) * self._unit
                yield (along, line) if self._run.flipped else (line, along)
