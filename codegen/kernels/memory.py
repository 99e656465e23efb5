"""Where values lie while a kernel runs: buffers of arguments, and scratch of a thread's own."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from codegen.kernels import bf16
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


class Plain:
    """An array [N, ...] in row-major order, met by (block of axis 0, ..., lane) as others are."""

    def __init__(self, memory: Any, lanes: int) -> None:
        self.memory, self._lanes = memory, lanes

    def __getitem__(self, indices: tuple[Expr, ...]) -> Expr:
        return self.memory[self._place(indices)]

    def store(self, loops: Loops, value: Expr, *indices: Expr) -> None:
        """array[indices] = value"""
        loops.store(self.memory, value, *self._place(indices))

    def _place(self, indices: Sequence[Expr]) -> tuple[Expr, ...]:
        block, *rest, lane = indices
        return (block * self._lanes + lane, *rest)


Index = tuple[Expr, ...]


class Home:
    """Where a value of the region lies once it has been computed: its buffer, or scratch.

    Scratch may hold a part of it only; `within` says where an element of the value lies there.
    A buffer of bf16 gives numbers in float32, and rounds what it gets.
    """

    def __init__(
        self, loops: Loops, array: Any, within: Callable[[Index], Index] = lambda index: index
    ) -> None:
        self._loops, self._array, self._place = loops, array, within

    def load(self, *index: Expr) -> Expr:
        """The value at (block, ..., lane); at () for a scalar."""
        return self.number(self.element(*index))

    def store(self, value: Expr, *index: Expr) -> None:
        """Set it."""
        self.put(self.bits(value), *index)

    # ------------------------------------------------------------------------ elements

    @property
    def dtype(self) -> str:
        """Of the elements in memory."""
        own = isinstance(self._array, Scratch | Plain)
        return str((self._array.memory if own else self._array).dtype)

    @property
    def in_rows(self) -> bool:
        """Whether the lanes of a position lie side by side."""
        return not isinstance(self._array, Plain)

    def element(self, *index: Expr) -> Expr:
        """What memory holds there."""
        return self._array[self._within(index)]

    def put(self, element: Expr, *index: Expr) -> None:
        """Set it."""
        place = self._within(index)
        if isinstance(self._array, Scratch | Plain):
            self._array.store(self._loops, element, *place)
        else:
            self._loops.store(self._array, element, *place)

    def number(self, element: Expr) -> Expr:
        """The value that an element stands for."""
        return bf16.number(element) if self.dtype == bf16.STORED else element

    def bits(self, value: Expr) -> Expr:
        """The element that stands for a value."""
        return bf16.bits(value) if self.dtype == bf16.STORED else value

    def _within(self, index: Index) -> Index:
        return self._place(index) or (0,)
