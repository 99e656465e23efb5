"""Convolution and its gradients."""

from tvm import tirx

from codegen.kernels.axis import Adjoint, Forward, groups_of
from codegen.kernels.cuda.correlation import Correlation, Met, Strip
from codegen.kernels.cuda.operand import Run
from codegen.kernels.cuda.writer import WARP
from codegen.loops import Expr


class Conv(Correlation):
    """A convolution and what follows it."""

    axis = Forward

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs
        self.groups = groups_of(self.node)

    def runs(self) -> tuple[Run, Run]:
        begins = () if self.groups == 1 else (self.rows,)
        return Run(flipped=False, width=self.form.width(*begins)), self.column_run()

    def weight(self, strip: Strip, met: Met, row: Expr) -> tuple[Expr, ...]:
        row = strip.group * self.rows + row
        return tirx.truncdiv(row, WARP), met.map, *met.tap, tirx.truncmod(row, WARP)


class ConvDx(Correlation):
    """A convolution's data gradient and what follows it."""

    axis = Adjoint

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs
        self.groups = groups_of(self.node)

    def runs(self) -> tuple[Run, Run]:
        return Run(flipped=True, width=self.form.width(self.maps)), self.column_run()

    def weight(self, strip: Strip, met: Met, row: Expr) -> tuple[Expr, ...]:
        out = strip.group * self.maps + met.map
        return tirx.truncdiv(out, WARP), row, *met.tap, tirx.truncmod(out, WARP)
