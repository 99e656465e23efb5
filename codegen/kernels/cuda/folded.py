"""A convolution of few maps with a stride, as one of stride 1 (space to depth).

A patch of stride x stride pixels counts as one pixel, and each of its pixels as a map. So there are
maps enough for chunks, pixels that are neighbours share all columns but one, and a patch of some
maps is a box. Patch q begins at pixel q * stride - before; boxes bring zeros for what lies beyond
the image, and for taps beyond the window.
"""

from dataclasses import replace
from math import prod

from tvm import tirx

from codegen.kernels.axis import Axis
from codegen.kernels.cuda.conv import Conv
from codegen.kernels.cuda.meeting import Met
from codegen.kernels.cuda.operand import Run
from codegen.kernels.cuda.strip import Strip
from codegen.kernels.cuda.tensor import tma
from codegen.loops import Expr


class FoldedConv(Conv):
    """Maps are numbered [maps, stride, stride]."""

    def geometry(self) -> None:
        super().geometry()
        self._unfolded = self.down, self.across
        self.down, self.across = (_of_patches(axis) for axis in self._unfolded)
        self.few, self.maps = False, self.maps * self._pixels
        self.depth = self.form.depth_of(self.maps)

    @property
    def is_possible(self) -> bool:
        """Whether there is a stride, and a chunk has whole patches of some maps."""
        even = self._pixels > 1 and self.depth % self._pixels == 0
        return even and self.engine(self.sized()) is tma

    @property
    def _strides(self) -> tuple[int, int]:
        down, across = self._unfolded
        return down.stride, across.stride

    @property
    def _pixels(self) -> int:
        """Of a patch."""
        return prod(self._strides)

    def runs(self) -> tuple[Run, Run]:
        window = self.depth // self._pixels, *self._strides
        rows, columns = super().runs()
        return replace(rows, window=window), replace(columns, window=window)

    def weight(self, strip: Strip, met: Met, row: Expr) -> tuple[Expr, ...]:
        first = tuple(tap * s for tap, s in zip(met.tap, self._strides, strict=True))
        return super().weight(strip, replace(met, map=self._map(met), tap=first), row)

    def pixel(self, strip: Strip, met: Met, y: Expr, x: Expr) -> tuple[Expr, ...]:
        down, across = self._unfolded
        maps = self.maps // self._pixels
        first = y * down.stride - down.before, x * across.stride - across.before
        return strip.group * maps + self._map(met), *first

    def _map(self, met: Met) -> Expr:
        return tirx.truncdiv(met.map, self._pixels)


def _of_patches(axis: Axis) -> Axis:
    """The same results of patches: those that begin where a window of a result does, or some
    strides later."""
    taps = -(-axis.window // axis.stride)
    return replace(axis, sources=axis.results + taps - 1, window=taps, stride=1, before=0)
