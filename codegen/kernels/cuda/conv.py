"""Convolution and its gradients."""

from tvm import tirx

from codegen.kernels.axis import Adjoint, Forward, groups_of
from codegen.kernels.cuda.correlation import Correlation, Met, Strip
from codegen.kernels.cuda.stage import Run
from codegen.kernels.cuda.writer import WARP, Built
from codegen.kernels.epilogue import anchor
from codegen.loops import Expr
from codegen.targets import Cuda
from ir.graph import Graph


def conv(region: Graph, target: Cuda) -> Built | str:
    """The kernel of a convolution and what follows it."""
    node = anchor(region, "conv")
    return node if isinstance(node, str) else _Conv(region, target, node).build()


def conv_dx(region: Graph, target: Cuda) -> Built | str:
    """The kernel of a convolution's data gradient and what follows it."""
    node = anchor(region, "conv_dx")
    return node if isinstance(node, str) else _ConvDx(region, target, node).build()


class _Conv(Correlation):
    axis = Forward

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs
        self.groups = groups_of(self.node)

    def runs(self) -> tuple[Run, Run]:
        aligned = self.groups == 1 or self.rows % 4 == 0
        return Run(flipped=False, width=4 if aligned else 1), Run(flipped=False, width=4)

    def weight(self, strip: Strip, met: Met, row: Expr) -> tuple[Expr, ...]:
        row = strip.group * self.rows + row
        return tirx.truncdiv(row, WARP), met.map, *met.tap, tirx.truncmod(row, WARP)


class _ConvDx(Correlation):
    axis = Adjoint

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs
        self.groups = groups_of(self.node)

    def runs(self) -> tuple[Run, Run]:
        return Run(flipped=True, width=1 if self.maps % 4 else 4), Run(flipped=False, width=4)

    def weight(self, strip: Strip, met: Met, row: Expr) -> tuple[Expr, ...]:
        out = strip.group * self.maps + met.map
        return tirx.truncdiv(out, WARP), row, *met.tap, tirx.truncmod(out, WARP)
