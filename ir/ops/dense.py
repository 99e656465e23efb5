"""Fully connected layers: y = x w^T with weights [out, in], and the two adjoints.

From y[n,o] = sum over i of x[n,i] w[o,i]:  dx = dy w,  dw = dy^T x.
"""

from ir.graph import AttrValue
from ir.op import Array, Attr, Fusion, Op, Param, Shards, Whole, require
from ir.ops.conv import NOT_IN_PLACE
from ir.ops.elementwise import AFTER_GRAD, FIRST_ORDER
from ir.ops.precision import MATH, rounded
from ir.type import DType, TensorType


def _require_matrices(*types: TensorType) -> None:
    for t in types:
        require(t.rank == 2 and t.dtype.is_float, f"expected a float matrix, got {t}")
        require(t.dtype == types[0].dtype, f"expected one dtype, got {types[0]} and {t}")


def dense_type(x: TensorType, w: TensorType, **_: AttrValue) -> TensorType:
    """[N,in] and [out,in] give [N,out]."""
    _require_matrices(x, w)
    require(x.shape[1] == w.shape[1], f"expected weights [out,{x.shape[1]}], got {w}")
    return x.with_shape(x.shape[0], w.shape[0])


def dense_dx_type(w: TensorType, dy: TensorType, *, math: str) -> TensorType:
    """[out,in] and [N,out] give [N,in]."""
    _require_matrices(w, dy)
    require(w.shape[0] == dy.shape[1], f"expected weights [{dy.shape[1]},in], got {w}")
    return dy.with_shape(dy.shape[0], w.shape[1])


def dense_dw_type(x: TensorType, dy: TensorType, *, math: str) -> TensorType:
    """[N,in] and [N,out] give [out,in], always f32."""
    _require_matrices(x, dy)
    require(x.shape[0] == dy.shape[0], f"expected one batch size, got {x} and {dy}")
    return x.with_shape(dy.shape[1], x.shape[1]).with_dtype(DType.F32)


def dense(x: Array, w: Array, *, math: str) -> Array:
    """x w^T."""
    y: Array = rounded(x, math) @ rounded(w, math).T
    return y


def dense_dx(w: Array, dy: Array, *, math: str) -> Array:
    """dy w."""
    dx: Array = rounded(dy, math) @ rounded(w, math)
    return dx


def dense_dw(x: Array, dy: Array, *, math: str) -> Array:
    """dy^T x."""
    dw: Array = rounded(dy, math).T @ rounded(x, math)
    return dw


def dense_split(
    parts: int, x: TensorType, w: TensorType, *, whole: int, **_: AttrValue
) -> Shards | str:
    """Reads everything and cuts its outputs."""
    if whole:
        return "the model keeps it whole"
    if w.shape[0] % parts:
        return f"its {w.shape[0]} outputs do not divide by {parts}"
    return Shards((Whole(), Param()))


ROWS = (
    Op(
        name="dense",
        doc="x w^T with weights [out, in].",
        operands=("x", "w"),
        type=dense_type,
        reference=lambda x, w, *, math, whole: dense(x, w, math=math),
        gradient={
            "x": lambda a: a.emit("dense_dx", a.inputs[1], a.dy, math=a.attrs["math"]),
            "w": lambda a: a.emit("dense_dw", a.inputs[0], a.dy, math=a.attrs["math"]),
        },
        split=dense_split,
        fusion=Fusion.ANCHOR,
        alias=NOT_IN_PLACE,
        flops=lambda result, x, w, **_: 2 * result.elements * w.shape[1],
        attrs={**MATH, "whole": Attr(int, 0, least=0, below=2)},
    ),
    Op(
        name="dense_dx",
        doc="dL/dx of dense.",
        operands=("w", "dy"),
        type=dense_dx_type,
        reference=dense_dx,
        gradient=FIRST_ORDER,
        split=AFTER_GRAD,
        fusion=Fusion.ANCHOR,
        alias=NOT_IN_PLACE,
        flops=lambda result, w, dy, **_: 2 * dy.elements * w.shape[1],
        attrs=MATH,
    ),
    Op(
        name="dense_dw",
        doc="dL/dw of dense.",
        operands=("x", "dy"),
        type=dense_dw_type,
        reference=dense_dw,
        gradient=FIRST_ORDER,
        split=AFTER_GRAD,
        fusion=Fusion.ANCHOR,
        alias=NOT_IN_PLACE,
        flops=lambda result, x, dy, **_: 2 * dy.elements * x.shape[1],
        attrs=MATH,
    ),
)
