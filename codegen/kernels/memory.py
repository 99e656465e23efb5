"""Where values lie while a kernel runs: buffers of arguments, and scratch of a thread's own."""

from collections.abc import Sequence
from math import prod
from typing import Any

from codegen.loops import Expr, Loops


class Scratch:
    """An array of floats; it holds garbage at first, of a thread's own at the start of every task.

    `skew` floats lie between its parts along axis 0, so that these do not share cache sets.
    """

    def __init__(self, memory: Any, base: Expr, shape: Sequence[int], skew: int = 0) -> None:
        self.memory, self._base, self.shape, self._skew = memory, base, tuple(shape), skew

    @property
    def size(self) -> int:
        """Floats, with what lies between."""
        return prod(self.shape) + self.shape[0] * self._skew

    def __getitem__(self, indices: tuple[Expr, ...]) -> Expr:
        return self.memory[self.place(indices)]

    def place(self, indices: Sequence[Expr]) -> Expr:
        """Where in the thread's memory an element lies."""
        flat: Expr = 0
        for index, extent in zip(indices, self.shape, strict=True):
            flat = flat * extent + index
        return self._base + flat + indices[0] * self._skew

    def store(self, loops: Loops, value: Expr, *indices: Expr) -> None:
        """array[indices] = value"""
        loops.store(self.memory, value, self.place(indices))


class Home:
    """Where a value of the region lies once it has been computed: its buffer, or scratch.

    Scratch may hold one block only, and of axis 2 only some rows, from `first` on.
    """

    def __init__(
        self, loops: Loops, array: Any, *, one_block: bool = False, first: Expr = 0
    ) -> None:
        self._loops, self._array = loops, array
        self._one_block, self._first = one_block, first

    def load(self, *index: Expr) -> Expr:
        """The element at (block, ..., lane); at () for a scalar."""
        return self._array[self._within(index)]

    def store(self, value: Expr, *index: Expr) -> None:
        """Set the element there."""
        if isinstance(self._array, Scratch):
            self._array.store(self._loops, value, *self._within(index))
        else:
            self._loops.store(self._array, value, *self._within(index))

    def _within(self, index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        if not index:
            return (0,)
        block, *rest = index
        if len(rest) == 4:
            rest[1] = rest[1] - self._first
        return tuple(rest) if self._one_block else (block, *rest)
