"""Convolution and its data gradient by minimal filtering: the weights from either side."""

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx

from codegen.kernels.cpu.tile import places
from codegen.kernels.cpu.winograd.band import At
from codegen.kernels.cpu.winograd.correlation import Correlation
from codegen.kernels.cpu.writer import LANES
from codegen.kernels.memory import Scratch
from codegen.loops import Expr


class Conv(Correlation):
    """A convolution and what follows it."""

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs

    @contextmanager
    def reduction(self, group: Expr) -> Iterator[tuple[Expr, Expr, Expr]]:
        with self.w.serial(self.depth) as d:
            yield d, 0, d

    def scalars(self, weights: Scratch, at: At, depth: tuple[Expr, Expr]) -> list[Expr]:
        first = at.band.group * self.maps + at.first
        maps = places(first, self.rows, within=LANES % self.rows == 0)
        return [weights[at.panel, block, depth[1], lane] for block, lane in maps]


class ConvDx(Correlation):
    """A convolution's data gradient and what follows it."""

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs

    @contextmanager
    def reduction(self, group: Expr) -> Iterator[tuple[Expr, Expr, Expr]]:
        first = self.w.let(group * self.depth)
        with (
            self.w.serial(-(-self.depth // LANES)) as k,
            self.w.serial(tirx.min(LANES, self.depth - k * LANES)) as lane,
        ):
            yield k * LANES + lane, first // LANES + k, lane

    def scalars(self, weights: Scratch, at: At, depth: tuple[Expr, Expr]) -> list[Expr]:
        block, lane = depth
        return [weights[at.panel, block, at.first + m, lane] for m in range(self.rows)]
