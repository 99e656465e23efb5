"""Convolution and its data gradient, which runs over the same taps from the other side."""

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx

from codegen.kernels.axis import Adjoint, Forward, Taps
from codegen.kernels.cpu.correlation import At, Correlation, Depth, Step
from codegen.kernels.cpu.tile import places
from codegen.kernels.cpu.writer import LANES
from codegen.kernels.ranges import Range
from codegen.loops import Expr


class Conv(Correlation):
    """A convolution and what follows it."""

    axis = Forward

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs
        self.depth, self.unit = self.weights.type.shape[1], 1

    def scalars(self, at: At, depth: Depth, r: Expr, s: Expr) -> list[Expr]:
        first, (channel,) = at.group * self.rows + at.first, depth
        # No tile crosses a block of 16 maps: one address serves all.
        aligned = self.rows % self.tile[0] == 0 and LANES % self.tile[0] == 0
        weights, maps = self.w.buffers[self.weights], places(first, at.rows, within=aligned)
        return [weights[block, channel, r, s, lane] for block, lane in maps]

    @contextmanager
    def reduction(self, group: Expr, taps: Taps, units: Range) -> Iterator[Step]:
        w, (begin, end) = self.w, units
        with w.serial(end - begin, begin) as c, w.serial(taps.end - taps.begin, taps.begin) as t:
            yield Step(group * self.depth + c, (c,), taps.tap(t), taps.source(t))


class ConvDx(Correlation):
    """A convolution's data gradient and what follows it."""

    axis = Adjoint

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs
        # As many blocks as a group's maps lie in at most.
        self.maps, self.unit = self.weights.type.shape[0] // self.groups, LANES
        aligned = self.groups == 1 or self.maps % LANES == 0
        self.depth = -(-self.maps // LANES) + (0 if aligned else 1)

    def scalars(self, at: At, depth: Depth, r: Expr, s: Expr) -> list[Expr]:
        block, lane = depth
        weights = self.w.buffers[self.weights]
        return [weights[block, at.first + m, r, s, lane] for m in range(at.rows)]

    @contextmanager
    def reduction(self, group: Expr, taps: Taps, units: Range) -> Iterator[Step]:
        w, first = self.w, group * self.maps
        begin = w.let(first // LANES + units[0])
        last = (first + self.maps + LANES - 1) // LANES
        end = w.let(tirx.min(last, first // LANES + units[1]))
        with w.serial(taps.end - taps.begin, taps.begin) as t, w.serial(end - begin, begin) as k:
            low = tirx.max(0, first - k * LANES)
            high = tirx.min(LANES, first + self.maps - k * LANES)
            with w.serial(high - low, low) as lane:
                yield Step(k * LANES + lane, (k, lane), taps.tap(t), taps.source(t))
