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
from codegen.loops import Expr, Loops


@dataclass(frozen=True)
class Kind:
    """The tiles begin .. end - 1 of a side, all with `size` results.

    They have all products of the side from number `first` on.
    """

    begin: int
    end: int
    size: int
    taps: int
    first: int

    @property
    def count(self) -> int:
        """How many tiles."""
        return self.end - self.begin

    @cached_property
    def forward(self) -> Minimal:
        """Results from pixels and taps."""
        return Minimal(self.size, self.taps, self.first)

    @cached_property
    def gradient(self) -> Minimal:
        """Gradients of taps from pixels and gradients of results."""
        return Minimal(self.taps, self.size, self.first)


@dataclass(frozen=True)
class Side:
    """Results in `tiles` tiles of near-equal size, the larger ones first; smaller ones have one
    result and one product less. A tile reads as many pixels of each phase as it has products.

    A data gradient is a correlation as well: of dy, with the taps from last to first.
    """

    tiles: int
    results: int
    sources: int
    window: int
    stride: int
    before: int
    flipped: bool

    @property
    def size(self) -> int:
        """Results of a larger tile."""
        return -(-self.results // self.tiles)

    @property
    def taps(self) -> int:
        """Taps of the phase that has most."""
        return -(-self.window // self.stride)

    @property
    def products(self) -> int:
        """Of a larger tile, along this axis."""
        return self.size + self.taps - 1

    @property
    def multiplied(self) -> int:
        """Products of all tiles."""
        return self.results + self.tiles * (self.taps - 1)

    @property
    def larger(self) -> int:
        """How many tiles are of the larger size."""
        return self.tiles - (self.tiles * self.size - self.results)

    @cached_property
    def kinds(self) -> list[Kind]:
        """The tiles of each size."""
        kinds = [Kind(0, self.larger, self.size, self.taps, 0)]
        if self.larger < self.tiles:
            kinds.append(Kind(self.larger, self.tiles, self.size - 1, self.taps, 1))
        return kinds

    def kind(self, w: Loops, tile: Expr) -> Iterator[Kind]:
        """Write for each kind what is to be done for a tile of it."""
        if len(self.kinds) == 1:
            yield self.kinds[0]
            return
        for kind in self.kinds:
            with w.when(tile < self.larger if kind.begin == 0 else tile >= self.larger):
                yield kind

    def with_product(self, product: Expr, tiles: range) -> Expr:
        """How many of these tiles have a product: the larger ones all, the others not the first."""
        larger = len(range(tiles.start, min(tiles.stop, self.larger)))
        if isinstance(product, int):
            return len(tiles) if product else larger
        return len(tiles) if larger == len(tiles) else tirx.Select(product == 0, larger, len(tiles))

    def start(self, tile: Expr) -> Expr:
        """The first result of a tile."""
        if len(self.kinds) == 1:
            return tile * self.size
        return tile * (self.size - 1) + tirx.min(tile, self.larger)

    def has(self, tile: Expr) -> Expr:
        """How many results a tile has."""
        return self.size - self.first(tile)

    def lies(self, inner: Expr, tile: Expr) -> tuple[Expr, ...]:
        """What must hold for the result of this number in a tile to be one."""
        return () if len(self.kinds) == 1 else (inner < self.has(tile),)

    def first(self, tile: Expr) -> Expr:
        """The first product that a tile has."""
        if len(self.kinds) == 1:
            return 0
        return tirx.Select(tile < self.larger, 0, 1)

    def tap(self, number: Expr, phase: Expr) -> Expr:
        """The place in the window of a phase's tap."""
        place = number * self.stride + phase
        return self.window - 1 - place if self.flipped else place

    def count(self, phase: Expr) -> Expr:
        """How many taps a phase has."""
        return (self.window + self.stride - 1 - phase) // self.stride

    def holds(self, number: Expr, phase: Expr) -> tuple[Expr, ...]:
        """What must hold for a phase to have the tap of this number."""
        return () if len(self.counts) == 1 else (number < self.count(phase),)

    @property
    def counts(self) -> list[int]:
        """All that phases have."""
        return sorted({self.count(phase) for phase in range(self.stride)})

    def pixel(self, step: Expr, phase: Expr) -> Expr:
        """The pixel that is number `step` of a phase, counted from the first tile's first."""
        return step * self.stride + phase - self.before

    def meets(self, pixel: Expr) -> tuple[Expr, ...]:
        """What must hold for a pixel to lie in the image."""
        return pixel >= 0, pixel < self.sources

    def inside(self, first: Expr, count: Expr, phase: Expr) -> tuple[Expr, Expr]:
        """Which of `count` steps from `first` on meet pixels of the image: begin and end."""
        start = self.pixel(first, phase)
        begin = tirx.max(0, tirx.truncdiv(self.stride - 1 - start, self.stride))
        end = tirx.truncdiv(self.sources - 1 - start + self.stride, self.stride)
        some = tirx.all(begin < end, begin < count)
        return tirx.Select(some, begin, 0), tirx.Select(some, tirx.min(count, end), 0)

    def spans(self, kind: Kind) -> Iterator[tuple[int, int]]:
        """All the (begin, end) that `inside` has for whole tiles of a kind."""
        found = {
            self._span(tile, kind, phase)
            for tile in range(kind.begin, kind.end)
            for phase in range(self.stride)
        }
        yield from sorted(found)

    def _span(self, tile: int, kind: Kind, phase: int) -> tuple[int, int]:
        first = tile * kind.size + min(tile, self.larger) * kind.first
        pixels = [self.pixel(first + step, phase) for step in range(kind.forward.products)]
        met = [step for step, pixel in enumerate(pixels) if 0 <= pixel < self.sources]
        return (met[0], met[-1] + 1) if met else (0, 0)


def side(axis: Axis, size: int) -> Side:
    """An axis of a convolution, or of a data gradient of stride 1, in tiles of at most this
    size."""
    flipped = isinstance(axis, Adjoint)
    before = axis.window - 1 - axis.before if flipped else axis.before
    tiles = -(-axis.results // size)
    return Side(tiles, axis.results, axis.sources, axis.window, axis.stride, before, flipped)
