"""Convolution and its gradients."""

from tvm import tirx

from codegen.kernels.axis import Adjoint, Forward, groups_of
from codegen.kernels.cuda.correlation import Correlation
from codegen.kernels.cuda.meeting import Met
from codegen.kernels.cuda.operand import Run, is_kept
from codegen.kernels.cuda.strip import Strip
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
        rows = Run(flipped=False, width=self.form.width(*begins), boxes=0 if self.boxed else None)
        return rows, self.column_run(self.strips.images * WARP)

    @property
    def boxed(self) -> bool:
        # A group's chunk must not go on in the next one, nor its rows begin within a block.
        apart = self.groups == 1 or not (self.maps % self.depth or self.rows % WARP)
        return apart and not self.few

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
        boxes = 0 if self.boxed else None
        rows = Run(flipped=True, width=self.form.width(self.maps), boxes=boxes)
        return rows, self.column_run(self.strips.images * WARP)

    @property
    def boxed(self) -> bool:
        # Beyond the last map there may be another group, and of weights anything.
        return self.maps % self.depth == 0 or (self.groups == 1 and is_kept(self.weights))

    def weight(self, strip: Strip, met: Met, row: Expr) -> tuple[Expr, ...]:
        out = strip.group * self.maps + met.map
        return tirx.truncdiv(out, WARP), row, *met.tap, tirx.truncmod(out, WARP)
