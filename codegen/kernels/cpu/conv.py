"""Convolution and its data gradient, which runs over the same taps from the other side."""

from typing import Any

from codegen.kernels.axis import Adjoint, Forward, Taps
from codegen.kernels.cpu.correlation import Correlation
from codegen.kernels.cpu.writer import LANES
from codegen.loops import Expr


class Conv(Correlation):
    """A convolution and what follows it."""

    axis = Forward

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs
        self.depth = self.weights.type.shape[1]

    def weight(self, row: Expr, depth: Expr, r: Expr, s: Expr) -> Expr:
        return self.w.buffers[self.weights][row // LANES, depth, r, s, row % LANES]

    def descent(self, taps: Taps) -> tuple[Expr, int, Expr]:
        return taps.tap(taps.begin), 1, taps.source(taps.begin)


class ConvDx(Correlation):
    """A convolution's data gradient and what follows it. Its rows of taps go from the last one to
    the first, so that both weights and pixels are met in the order of their addresses."""

    axis = Adjoint

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs
        self.depth = self.weights.type.shape[0] // self.groups

    def weight(self, row: Expr, depth: Expr, r: Expr, s: Expr) -> Expr:
        map = row // self.rows * self.depth + depth
        place = row % self.rows, self._turned(r), s
        return self.w.buffers[self.weights][map // LANES, *place, map % LANES]

    def descent(self, taps: Taps) -> tuple[Expr, int, Expr]:
        stride: Any = self.node.attrs["stride"]
        last = taps.end - 1
        return self._turned(taps.tap(last)), stride[0], taps.source(last)

    def _turned(self, r: Expr) -> Expr:
        return self.weights.type.shape[2] - 1 - r
