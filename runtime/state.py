"""Parameters and momenta under their logical names, whole: what checkpoints hold.

In memory a logical tensor may lie in pieces on several devices, padded and permuted, or in copies.
bf16 copies of parameters have no names here: they are written with these.
"""

import hashlib
from collections import defaultdict
from typing import Any

import numpy as np

from ir.plan import Plan, State
from runtime.memory import DTYPES, Memories, read_tensor, write_tensor
from runtime.packing import Array

SEEDS = 2**32
"""How many seeds there are: counters of draws hold 32 bits of one."""


class States:
    """The states of a plan in the arenas of its devices."""

    def __init__(self, plan: Plan, memories: Memories) -> None:
        self._memories = memories
        self._pieces: dict[str, list[State]] = defaultdict(list)
        self._copies: dict[str, list[State]] = defaultdict(list)
        for state in plan.states:
            kept = self._copies[state.copies] if state.copies else self._pieces[state.logical]
            kept.append(state)
        self.names = tuple(sorted(self._pieces))
        self.parameters = frozenset(s.logical for s in plan.states if s.kind == "param")

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the whole logical tensor."""
        return self._pieces[name][0].whole

    def dtype(self, name: str) -> "np.dtype[Any]":
        """Its element type in memory and in checkpoints."""
        return DTYPES[self._pieces[name][0].tensor.dtype]

    def read(self, name: str) -> Array:
        """A copy of the whole logical tensor."""
        whole = np.empty(self.shape(name), self.dtype(name))
        for piece in reversed(self._pieces[name]):
            whole[_box(piece)] = read_tensor(self._memories, piece.tensor)
        return whole

    def write(self, name: str, value: Array) -> None:
        """Set every piece and copy of it. Raises ValueError for another shape or dtype."""
        if value.shape != self.shape(name) or value.dtype != self.dtype(name):
            expected = f"{self.dtype(name)}{list(self.shape(name))}"
            raise ValueError(f"{name}: {value.dtype}{list(value.shape)}, expected {expected}")
        for piece in (*self._pieces[name], *self._copies.get(name, ())):
            write_tensor(self._memories, piece.tensor, value[_box(piece)])

    def initialise(self, seed: int) -> None:
        """Draw them all anew; what is drawn depends on the seed and the logical name alone."""
        for name in self.names:
            self.write(name, initial(self._pieces[name][0], seed))


def initial(state: State, seed: int) -> Array:
    """The whole logical tensor at the start: N(value, std^2), or `value` everywhere."""
    dtype = DTYPES[state.tensor.dtype]
    if state.std == 0:
        return np.full(state.whole, state.value, dtype)
    name = int.from_bytes(hashlib.sha256(state.logical.encode()).digest()[:8], "little")
    philox = np.random.Philox(key=np.array([seed % 2**64, name], np.uint64))
    drawn = np.random.Generator(philox).standard_normal(state.whole, np.float32)
    drawn *= np.float32(state.std)
    drawn += np.float32(state.value)
    return drawn


def _box(piece: State) -> tuple[slice, ...]:
    extents = zip(piece.start, piece.tensor.layout.shape, strict=True)
    return tuple(slice(start, start + extent) for start, extent in extents)
