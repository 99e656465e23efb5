"""One axis of a convolution in tiles of minimal filtering (`codegen/kernels/minimal.py`).

A stride s is undone first: result y meets pixel y * s + tap - before, so pixels apart by s and taps
apart by s form s separate correlations of stride 1, called phases, that are added up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from tvm import tirx

from codegen.kernels.axis import Adjoint, Axis
from codegen.kernels.minimal import Minimal
from codegen.loops import Expr


@dataclass(frozen=True)
class Side:
    """Results in `tiles` tiles of `size`; a tile reads `products` pixels of each phase.

    A data gradient is a correlation as well: of dy, with the taps from last to first.
    """

    size: int
    results: int
    sources: int
    window: int
    stride: int
    before: int
    flipped: bool

    @property
    def taps(self) -> int:
        """Taps of the phase that has most."""
        return -(-self.window // self.stride)

    @property
    def products(self) -> int:
        """Pixels that a tile reads in a phase, and products along this axis."""
        return self.size + self.taps - 1

    @property
    def tiles(self) -> int:
        """How many there are; the last may stick out."""
        return -(-self.results // self.size)

    @cached_property
    def forward(self) -> Minimal:
        """Results from pixels and taps."""
        return Minimal(self.size, self.taps)

    @cached_property
    def gradient(self) -> Minimal:
        """Gradients of taps from pixels and gradients of results."""
        return Minimal(self.taps, self.size)

    def tap(self, number: Expr, phase: Expr) -> Expr:
        """The place in the window of a phase's tap."""
        place = number * self.stride + phase
        return self.window - 1 - place if self.flipped else place

    def count(self, phase: Expr) -> Expr:
        """How many taps a phase has."""
        return (self.window + self.stride - 1 - phase) // self.stride

    @property
    def counts(self) -> list[int]:
        """All that phases have."""
        return sorted({self.count(phase) for phase in range(self.stride)})

    def pixel(self, step: Expr, phase: Expr) -> Expr:
        """The pixel that is number `step` of a phase, counted from the first tile's first."""
        return step * self.stride + phase - self.before

    def inside(self, first: Expr, count: Expr, phase: Expr) -> tuple[Expr, Expr]:
        """Which of `count` steps from `first` on meet pixels of the image: begin and end."""
        start = self.pixel(first, phase)
        begin = tirx.max(0, tirx.truncdiv(self.stride - 1 - start, self.stride))
        end = tirx.truncdiv(self.sources - 1 - start + self.stride, self.stride)
        some = tirx.all(begin < end, begin < count)
        return tirx.Select(some, begin, 0), tirx.Select(some, tirx.min(count, end), 0)

    def spans(self) -> Iterator[tuple[int, int]]:
        """All the (begin, end) that `inside` has for whole tiles."""
        found = {
            self._span(tile * self.size, phase)
            for tile in range(self.tiles)
            for phase in range(self.stride)
        }
        yield from sorted(found)

    def _span(self, first: int, phase: int) -> tuple[int, int]:
        pixels = [self.pixel(first + step, phase) for step in range(self.products)]
        met = [step for step, pixel in enumerate(pixels) if 0 <= pixel < self.sources]
        return (met[0], met[-1] + 1) if met else (0, 0)


def side(axis: Axis, size: int) -> Side:
    """An axis of a convolution, or of a data gradient of stride 1, in tiles of this size."""
    flipped = isinstance(axis, Adjoint)
    before = axis.window - 1 - axis.before if flipped else axis.before
    return Side(size, axis.results, axis.sources, axis.window, axis.stride, before, flipped)
