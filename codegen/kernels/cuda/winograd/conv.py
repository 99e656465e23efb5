"""Convolution and its data gradient by minimal filtering: the weights from either side."""

from codegen.kernels.cuda.operand import Run
from codegen.kernels.cuda.winograd.correlation import Correlation, Panel
from codegen.loops import Expr


class Conv(Correlation):
    """A convolution and what follows it."""

    def operands(self) -> None:
        self.source, self.weights = self.node.inputs

    def row_run(self) -> Run:
        begins = () if self.groups == 1 else (self.rows,)
        return Run(flipped=False, width=self.form.width(*begins))

    def weight(self, panel: Panel, row: Expr, step: Expr) -> tuple[Expr, ...]:
        return step, panel.group * self.rows + row


class ConvDx(Correlation):
    """A convolution's data gradient and what follows it."""

    def operands(self) -> None:
        self.weights, self.source = self.node.inputs

    def row_run(self) -> Run:
        return Run(flipped=True, width=self.form.width(self.maps))

    def weight(self, panel: Panel, row: Expr, step: Expr) -> tuple[Expr, ...]:
        return row, panel.group * self.maps + step
