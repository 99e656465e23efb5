"""What the chunks of a correlation's sum have: maps of the source, met through one tap, through all
taps of a row of the window, or through all there are.

Steps are numbered chunk by chunk; pixels and taps are pairs, down and across.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from tvm import tirx

from codegen.kernels.axis import Axis, Forward, Pair
from codegen.kernels.cuda.strip import Strip
from codegen.kernels.cuda.writer import Writer
from codegen.loops import Expr


@dataclass(frozen=True)
class Met:
    """What a step meets: a map of the source within the group, through a tap, and its number.

    `valid` must hold for there to be such a step.
    """

    map: Expr
    tap: Pair
    number: Pair
    valid: tuple[Expr, ...]


@dataclass(frozen=True)
class Meeting:
    """How `maps` are met along two axes, `depth` of them in a chunk."""

    w: Writer
    axes: tuple[Axis, Axis]
    maps: int
    depth: int

    @property
    def usual(self) -> int:
        """Chunks of a strip that lies within the image."""
        raise NotImplementedError

    def chunks(self, strip: Strip) -> Expr:
        """Those that a strip has."""
        return self.usual

    def steps(self, strip: Strip, number: Expr) -> Callable[[Expr], Met]:
        """What the steps of a chunk meet."""
        raise NotImplementedError

    @property
    def _pieces(self) -> int:
        """Chunks of the maps that are met through one tap."""
        return -(-self.maps // self.depth)

    def _first(self, number: Expr) -> Expr:
        """The first map of a chunk that has some of them."""
        return tirx.truncmod(number, self._pieces) * self.depth


class OneTap(Meeting):
    """Maps that are met through one tap."""

    @property
    def usual(self) -> int:
        # In the adjoint, pixels have every stride-th tap.
        apart = prod(1 if isinstance(axis, Forward) else axis.stride for axis in self.axes)
        return -(-prod(axis.window for axis in self.axes) // apart) * self._pieces

    def chunks(self, strip: Strip) -> Expr:
        down, across = strip.down, strip.across
        return (down.end - down.begin) * (across.end - across.begin) * self._pieces

    def steps(self, strip: Strip, number: Expr) -> Callable[[Expr], Met]:
        w, down, across = self.w, strip.down, strip.across
        tap, first = w.fixed(tirx.truncdiv(number, self._pieces)), self._first(number)
        width = across.end - across.begin
        r = w.fixed(down.begin + tirx.truncdiv(tap, width))
        s = w.fixed(across.begin + tirx.truncmod(tap, width))
        taps = down.tap(r), across.tap(s)

        def meet(step: Expr) -> Met:
            valid = (first + step < self.maps,) if self.maps % self.depth else ()
            return Met(first + step, taps, (r, s), valid)

        return meet


class RowOfTaps(Meeting):
    """Maps that are met through all taps of a row of the window, those first that meet the first
    pixels."""

    @property
    def usual(self) -> int:
        return self.axes[0].window * self._pieces

    def chunks(self, strip: Strip) -> Expr:
        return (strip.down.end - strip.down.begin) * self._pieces

    def steps(self, strip: Strip, number: Expr) -> Callable[[Expr], Met]:
        down, across = strip.down, self.axes[1]
        first = self._first(number)
        r = self.w.fixed(down.begin + tirx.truncdiv(number, self._pieces))

        def meet(step: Expr) -> Met:
            tap, step = tirx.truncdiv(step, self.depth), tirx.truncmod(step, self.depth)
            s = tap if isinstance(across, Forward) else across.window - 1 - tap
            return Met(first + step, (down.tap(r), s), (r, s), ())

        return meet


class AllTaps(Meeting):
    """Maps and taps as one."""

    @property
    def usual(self) -> int:
        return -(-prod(self._extents) // self.depth)

    @property
    def _extents(self) -> tuple[int, int, int]:
        down, across = self.axes
        return self.maps, down.window, across.window

    def steps(self, strip: Strip, number: Expr) -> Callable[[Expr], Met]:
        first, total = number * self.depth, prod(self._extents)

        def meet(step: Expr) -> Met:
            channel, r, s = self.w.indices(first + step, self._extents)
            valid = (first + step < total,) if total % self.depth else ()
            return Met(channel, (r, s), (r, s), valid)

        return meet
