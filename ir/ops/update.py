"""The update of stochastic gradient descent with momentum, paper section 5:

    v' = momentum * v - rate * (g + decay * w)        w' = w + v'
The rate stands inside the momentum term. Rate 0 freezes: v' = v and w' = w. Over several batches
gradients are summed first; the first batch of a round (keep = 0) starts the sum anew.
"""

import numpy as np

from ir.op import Absent, Array, Attr, Fusion, Op, per_element, require
from ir.type import DType, TensorType

_AFTER_GRAD = Absent("exists only after sgd; splitting is done before")
_LAST = Absent("nothing follows an update within a step")


def _require_state(first: TensorType, tensors: tuple[TensorType, ...]) -> None:
    require(first.dtype is DType.F32, f"expected f32 state, got {first}")
    for t in tensors:
        require(t == first, f"expected operands of one type, got {first} and {t}")


def _require_scalars(*scalars: TensorType) -> None:
    for s in scalars:
        require(s.rank == 0 and s.dtype is DType.F32, f"expected the scalar f32[], got {s}")


def velocity_type(
    v: TensorType,
    w: TensorType,
    g: TensorType,
    rate: TensorType,
    momentum: TensorType,
    decay: TensorType,
    *,
    decay_by: float,
) -> TensorType:
    """The common type of v, w and g."""
    _require_state(v, (w, g))
    _require_scalars(rate, momentum, decay)
    return v


def weight_type(w: TensorType, v: TensorType, rate: TensorType) -> TensorType:
    """The common type of w and v."""
    _require_state(w, (v,))
    _require_scalars(rate)
    return w


def accumulate_type(total: TensorType, g: TensorType, keep: TensorType) -> TensorType:
    """The common type of the sum and g."""
    _require_state(total, (g,))
    _require_scalars(keep)
    return total


def velocity(
    v: Array, w: Array, g: Array, rate: Array, momentum: Array, decay: Array, *, decay_by: float
) -> Array:
    """v'."""
    moved: Array = momentum * v - rate * (g + decay * decay_by * w)
    return np.where(rate == 0, v, moved)


def weight(w: Array, v: Array, rate: Array) -> Array:
    """w'."""
    return np.where(rate == 0, w, w + v)


ROWS = (
    Op(
        name="sgd_velocity",
        doc="momentum * v - rate * (g + decay * decay_by * w); v itself when the rate is 0.",
        operands=("v", "w", "g", "rate", "momentum", "decay"),
        type=velocity_type,
        reference=velocity,
        gradient=_LAST,
        split=_AFTER_GRAD,
        fusion=Fusion.POINTWISE,
        alias=("v", "g"),
        flops=per_element(6),
        attrs={"decay_by": Attr(float, 1.0, least=0)},
    ),
    Op(
        name="sgd_weight",
        doc="w + v; w itself when the rate is 0.",
        operands=("w", "v", "rate"),
        type=weight_type,
        reference=weight,
        gradient=_LAST,
        split=_AFTER_GRAD,
        fusion=Fusion.POINTWISE,
        alias=("w",),
        flops=per_element(1),
    ),
    Op(
        name="accumulate",
        doc="total + g; g alone when keep is 0.",
        operands=("total", "g", "keep"),
        type=accumulate_type,
        reference=lambda total, g, keep: np.where(keep == 0, g, total + g),
        gradient=_LAST,
        split=_AFTER_GRAD,
        fusion=Fusion.POINTWISE,
        alias=("total", "g"),
        flops=per_element(1),
    ),
)
