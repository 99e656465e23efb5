"""Convolution and its data gradient by minimal filtering: the weights from either side."""

from codegen.kernels.cuda.operand import Run
from codegen.kernels.cuda.winograd.correlation import Correlation
from codegen.kernels.cuda.winograd.turn import Panel
from codegen.loops import Expr


class Conv(Correlation):
    """A convolution and what follows it."""

    def row_run(self) -> Run:
        begins = () if self.maps.groups == 1 else (self.maps.results,)
        return Run(flipped=False, width=self.form.width(*begins))

    def weight(self, panel: Panel, row: Expr, step: Expr) -> tuple[Expr, ...]:
        return step, panel.group * self.maps.results + row


class ConvDx(Correlation):
    """A convolution's data gradient and what follows it."""

    def row_run(self) -> Run:
        return Run(flipped=True, width=self.form.width(self.maps.sources))

    def weight(self, panel: Panel, row: Expr, step: Expr) -> tuple[Expr, ...]:
        return row, panel.group * self.maps.sources + step
