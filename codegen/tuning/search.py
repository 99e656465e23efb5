"""The best sizes for a region's kernel, found by trying: one size after another, what suits best
stays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from codegen.kernels.cpu.winograd.choice import candidates, phases, work
from codegen.targets import Cpu
from codegen.tuning.parameters import Tuning, anchor
from codegen.tuning.timing import Bench, Timed, best
from ir.graph import Graph, Node
from ir.plan import Work

LIKELY = 1.15
"""Tiles are tried that take at most this much more work than the best."""
WORTH = 0.98
"""Part of the formula's time that is little enough to be more than noise."""
STRIPS = (2, 3, 4, 6)
SHAPES = ((8, 3), (12, 2), (24, 1), (6, 4), (16, 1), (4, 6), (6, 1), (3, 2), (4, 4), (8, 2))
DIRECTLY = (0, 0)
FIELDS = ("tile", "strip", "cached", "chunk", "shape")
"""Of `Tuning`, in the order in which they are tried."""


@dataclass(frozen=True)
class Found:
    """The best sizes, the seconds they take, and those that the formula's take.

    `work` and `moved` are of the kernel that they give.
    """

    tuning: Tuning
    seconds: float
    before: float
    work: Work
    moved: int


class Search:
    """A search for one region, by so many calls of each kernel."""

    def __init__(self, region: Graph, target: Cpu, repeat: int, threads: int) -> None:
        self._target, self._node = target, anchor(region)
        self._repeat, self._threads = repeat, threads
        self._bench = Bench(region, target, threads)
        self._kernels: dict[Tuning, Timed] = {}

    def run(self) -> Found:
        """Try what there is. Raises Error."""
        first = tuning = self._target.tuning
        for field in FIELDS if self._node else ():
            assert self._node is not None
            values = _values(self._node, replace(self._target, tuning=tuning), field)
            trials = [tuning, *(replace(tuning, **{field: value}) for value in values)]
            if len(trials) > 1:
                tuning = trials[int(np.argmin(self._times(trials, self._repeat)))]
        before, seconds = self._times([first, tuning], 2 * self._repeat)
        if seconds > WORTH * before:
            tuning, seconds = first, before
        kernel = self._kernels[tuning]
        return Found(tuning, seconds, before, kernel.work, kernel.moved)

    def _times(self, tunings: Sequence[Tuning], repeat: int) -> list[float]:
        for each in tunings:
            if each not in self._kernels:
                self._kernels[each] = self._bench.kernel(replace(self._target, tuning=each))
        return best([self._kernels[each].call for each in tunings], repeat, self._threads)


def _values(node: Node, target: Cpu, field: str) -> Iterator[Any]:
    """Values of a field that differ from what it is and mean something for a kernel."""
    if field == "tile":
        yield from _tiles(node, target) if node.op.startswith("conv") else ()
        return
    by_filtering = node.op.startswith("conv") and phases(node, target) is not None
    forward = not node.op.endswith("_dw")
    if field == "shape":
        fits = [(r, c) for r, c in SHAPES if r * c <= target.accumulators < 2 * r * c]
        yield from fits if forward and not by_filtering else ()
    elif by_filtering and field == "strip" and forward:
        yield from STRIPS
    elif by_filtering and field == ("cached" if forward else "chunk"):
        size = getattr(target.tuning, field)
        yield from (size // 2, 2 * size)


def _tiles(node: Node, target: Cpu) -> Iterator[tuple[int, int]]:
    found = candidates(node, target.winograd)
    least = min((work(node, each) for each in found), default=0.0)
    yield from (each.sizes for each in found if work(node, each) <= LIKELY * least)
    yield DIRECTLY
