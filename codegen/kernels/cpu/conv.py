"""Convolution and its data gradient, which runs over the same taps from the other side."""

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx

from codegen.kernels.axis import Adjoint, Forward, Taps
from codegen.kernels.cpu.correlation import At, Correlation, Depth, Step
from codegen.kernels.cpu.writer import LANES, Built
from codegen.kernels.epilogue import anchor
from codegen.loops import Expr
from codegen.targets import Cpu
from ir.graph import Graph


def conv(region: Graph, target: Cpu) -> Built | str:
    """The kernel of a convolution and what follows it."""
    node = anchor(region, "conv")
    return node if isinstance(node, str) else _Conv(region, target, node).build()


def conv_dx(region: Graph, target: Cpu) -> Built | str:
    """The kernel of a convolution's data gradient and what follows it."""
    node = anchor(region, "conv_dx")
    return node if isinstance(node, str) else _ConvDx(region, target, node).build()


class _Conv(Correlation):
    axis = Forward

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs

    def scalars(self, at: At, depth: Depth, r: Expr, s: Expr) -> list[Expr]:
        first, (channel,) = at.group * self.rows + at.first, depth
        # No tile crosses a block of 16 maps: one address serves all.
        aligned = self.rows % self.tile[0] == 0 and LANES % self.tile[0] == 0
        places = [
            (first // LANES, first % LANES + m)
            if aligned
            else ((first + m) // LANES, (first + m) % LANES)
            for m in range(at.rows)
        ]
        weights = self.w.buffers[self.weights]
        return [weights[block, channel, r, s, lane] for block, lane in places]

    @contextmanager
    def reduction(self, group: Expr, taps: Taps) -> Iterator[Step]:
        channels = self.weights.type.shape[1]
        with self.w.serial(channels) as c, self.w.serial(taps.end - taps.begin, taps.begin) as t:
            yield Step(group * channels + c, (c,), taps.tap(t), taps.source(t))


class _ConvDx(Correlation):
    axis = Adjoint

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs

    def scalars(self, at: At, depth: Depth, r: Expr, s: Expr) -> list[Expr]:
        block, lane = depth
        weights = self.w.buffers[self.weights]
        return [weights[block, at.first + m, r, s, lane] for m in range(at.rows)]

    @contextmanager
    def reduction(self, group: Expr, taps: Taps) -> Iterator[Step]:
        w, maps = self.w, self.weights.type.shape[0] // self.groups
        first = group * maps
        begin, end = first // LANES, (first + maps + LANES - 1) // LANES
        with w.serial(taps.end - taps.begin, taps.begin) as t, w.serial(end - begin, begin) as k:
            low = tirx.max(0, first - k * LANES)
            high = tirx.min(LANES, first + maps - k * LANES)
            with w.serial(high - low, low) as lane:
                yield Step(k * LANES + lane, (k, lane), taps.tap(t), taps.source(t))
