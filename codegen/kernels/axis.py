"""One axis of a window's geometry: which source pixels meet which results, through which taps.

Forward, result y meets source y * stride + tap - before. In the adjoint, result y meets source
(y + before - tap) / stride wherever that is whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tvm import tirx

from codegen.loops import Expr
from ir.graph import Node

Pair = tuple[Expr, Expr]
"""Down and across."""


@dataclass(frozen=True)
class Taps:
    """The taps that meet a source for one result: those numbered begin .. end - 1."""

    begin: Expr
    end: Expr
    tap: Callable[[Expr], Expr]
    source: Callable[[Expr], Expr]


@dataclass(frozen=True)
class Phase:
    """Results first + step * q for q < count, all with the same taps.

    Result q meets source base + pull * q for each (tap, base) of `taps`, if there is such a pixel.
    """

    first: int
    step: int
    count: int
    pull: int
    taps: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Axis:
    """Extents of results and sources, and the window between them."""

    results: int
    sources: int
    window: int
    stride: int
    before: int

    def taps(self, y: Expr) -> Taps:
        """The taps of a result that is known only when the kernel runs."""
        raise NotImplementedError

    def phases(self) -> list[Phase]:
        """All results, apart by the taps they have; known now."""
        raise NotImplementedError

    def inside(self, source: Expr) -> tuple[Expr, ...]:
        """What must hold for a source that a result meets to be there."""
        return source >= 0, source < self.sources

    @property
    def met(self) -> int:
        """Pairs of a result and a tap that meet a source."""
        return sum(
            0 <= base + phase.pull * q < self.sources
            for phase in self.phases()
            for _, base in phase.taps
            for q in range(phase.count)
        )


class Forward(Axis):
    """The axis of a convolution; sources are pixels of x."""

    def taps(self, y: Expr) -> Taps:
        start = y * self.stride - self.before
        begin, end = tirx.max(0, -start), tirx.min(self.window, self.sources - start)
        return Taps(begin, end, lambda tap: tap, lambda tap: start + tap)

    def phases(self) -> list[Phase]:
        taps = tuple((tap, tap - self.before) for tap in range(self.window))
        return [Phase(0, 1, self.results, self.stride, taps)]

    def inside(self, source: Expr) -> tuple[Expr, ...]:
        begin = () if self.before == 0 else (source >= 0,)
        reach = (self.results - 1) * self.stride + self.window - self.before
        return begin if reach <= self.sources else (*begin, source < self.sources)

    def results_of(self, tap: Expr) -> tuple[Expr, Expr]:
        """The range of results that meet a source through a tap."""
        start = self.before - tap  # a result y needs 0 <= y * stride - start < sources
        end = (self.sources - 1 + start) // self.stride + 1
        return (
            tirx.max(0, (start + self.stride - 1) // self.stride),
            tirx.max(0, tirx.min(self.results, end)),
        )


class Adjoint(Axis):
    """The axis of a convolution's data gradient; sources are pixels of dy."""

    def taps(self, y: Expr) -> Taps:
        far, least = (y + self.before) // self.stride, (y + self.before) % self.stride
        begin = tirx.max(0, far - (self.sources - 1))
        end = tirx.min(far + 1, (self.window - least + self.stride - 1) // self.stride)
        return Taps(begin, end, lambda t: least + self.stride * t, lambda t: far - t)

    def phases(self) -> list[Phase]:
        return [self._phase(first) for first in range(min(self.stride, self.results))]

    def _phase(self, first: int) -> Phase:
        count = -(-(self.results - first) // self.stride)
        least = (first + self.before) % self.stride
        taps = range(least, self.window, self.stride)
        bases = tuple((tap, (first + self.before - tap) // self.stride) for tap in taps)
        return Phase(first, self.stride, count, 1, bases)


AnyAxis = TypeVar("AnyAxis", bound=Axis)


def axes(
    kind: type[AnyAxis],
    node: Node,
    results: Sequence[int],
    sources: Sequence[int],
    window: Sequence[int],
) -> tuple[AnyAxis, AnyAxis]:
    """Down and across, for a node with `stride` and `pad`; extents are [height, width]."""
    stride: Any = node.attrs["stride"]
    pad: Any = node.attrs["pad"]
    down, across = (
        kind(results[i], sources[i], window[i], stride[i], pad[2 * i]) for i in range(2)
    )
    return down, across


def groups_of(node: Node) -> int:
    """The `groups` of a convolution."""
    groups = node.attrs["groups"]
    assert isinstance(groups, int)
    return groups
