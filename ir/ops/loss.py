"""Softmax, the loss, and the counts of right answers.

Every mean is over images, weighted: weight 0 leaves out the padding of a short last batch. With
p = softmax(z) and w normalised to sum 1:  L = -sum w_n log p_n[label_n],
    dL/dz[n,c] = w_n (p[n,c] - [c = label_n])
"""

import numpy as np

from ir.op import Absent, Array, Attr, Fusion, Op, per_element, require
from ir.ops.conv import NOT_IN_PLACE
from ir.ops.elementwise import AFTER_GRAD, FIRST_ORDER
from ir.type import DType, TensorType

_NORMALISES = Absent("it normalises over all classes")
_FED = Absent("fed, never trained")


def loss_type(logits: TensorType, labels: TensorType, weights: TensorType, **_: int) -> TensorType:
    """[N,classes], i32[N] and f32[N] give f32[]."""
    require(
        logits.rank == 2 and logits.dtype is DType.F32,
        f"expected f32 logits [N,classes], got {logits}",
    )
    batch = logits.shape[:1]
    require(
        labels.shape == batch and labels.dtype is DType.I32,
        f"expected labels i32{list(batch)}, got {labels}",
    )
    require(
        weights.shape == batch and weights.dtype is DType.F32,
        f"expected weights f32{list(batch)}, got {weights}",
    )
    return logits.with_shape()


def loss_dx_type(
    logits: TensorType, labels: TensorType, weights: TensorType, dloss: TensorType
) -> TensorType:
    """The type of the logits."""
    scalar = loss_type(logits, labels, weights)
    require(dloss == scalar, f"expected dloss of type {scalar}, got {dloss}")
    return logits


def softmax_type(logits: TensorType) -> TensorType:
    """The type of the logits."""
    require(
        logits.rank == 2 and logits.dtype is DType.F32,
        f"expected f32 logits [N,classes], got {logits}",
    )
    return logits


def softmax(logits: Array) -> Array:
    """exp(z) / sum exp(z), shifted by the largest z."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p: Array = e / e.sum(axis=1, keepdims=True)
    return p


def _require_labels(logits: Array, labels: Array) -> None:
    classes = logits.shape[1]
    inside = bool(((labels >= 0) & (labels < classes)).all())
    require(inside, f"a label is no class, expected 0 to {classes - 1}")


def _normalised(weights: Array) -> Array:
    total = weights.sum()
    shares: Array = weights / total if total > 0 else np.zeros_like(weights)
    return shares


def cross_entropy(logits: Array, labels: Array, weights: Array) -> Array:
    """The weighted mean of -log p[label], in nats; 0 when all weights are 0."""
    _require_labels(logits, labels)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    own = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
    loss: Array = (_normalised(weights) * (log_sum - own)).sum()
    return loss


def cross_entropy_dx(logits: Array, labels: Array, weights: Array, dloss: Array) -> Array:
    """dloss * w (p - onehot)."""
    _require_labels(logits, labels)
    d = softmax(logits)
    d[np.arange(len(labels)), labels] -= 1
    scaled: Array = d * (_normalised(weights) * dloss)[:, None]
    return scaled


def accuracy(logits: Array, labels: Array, weights: Array, *, top: int) -> Array:
    """The weighted share of labels among the `top` largest logits.

    Ties count in part, as in the 2012 code: with g logits greater than the label's and e equal to
    it (itself included), the label is right with probability clip((top - g) / e, 0, 1).
    """
    _require_labels(logits, labels)
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    greater, equal = (logits > own).sum(axis=1), (logits == own).sum(axis=1)
    # A NaN equals nothing, itself included: it is never right.
    right = np.clip((top - greater) / np.maximum(equal, 1), 0, 1) * (equal > 0)
    share: Array = (_normalised(weights) * right.astype(weights.dtype)).sum()
    return share


ROWS = (
    Op(
        name="softmax",
        doc="Class probabilities of logits [N,classes].",
        operands=("logits",),
        type=softmax_type,
        reference=softmax,
        gradient={"logits": Absent("cross_entropy reads the logits themselves")},
        split=_NORMALISES,
        fusion=Fusion.REDUCE,
        alias=("logits",),
        flops=per_element(12),
    ),
    Op(
        name="cross_entropy",
        doc="Mean of -log softmax(logits)[label] over the images, weighted.",
        operands=("logits", "labels", "weights"),
        type=loss_type,
        reference=cross_entropy,
        gradient={
            "logits": lambda a: a.emit("cross_entropy_dx", *a.inputs, a.dy),
            "weights": _FED,
        },
        split=_NORMALISES,
        fusion=Fusion.REDUCE,
        alias=NOT_IN_PLACE,
        flops=lambda result, logits, *_: 12 * logits.elements,
    ),
    Op(
        name="cross_entropy_dx",
        doc="dL/dlogits of cross_entropy.",
        operands=("logits", "labels", "weights", "dloss"),
        type=loss_dx_type,
        reference=cross_entropy_dx,
        gradient=FIRST_ORDER,
        split=AFTER_GRAD,
        fusion=Fusion.REDUCE,
        alias=("logits",),
        flops=per_element(14),
    ),
    Op(
        name="accuracy",
        doc="Weighted share of labels among the `top` largest logits; ties count in part.",
        operands=("logits", "labels", "weights"),
        type=loss_type,
        reference=accuracy,
        gradient={"logits": Absent("a count has no gradient"), "weights": _FED},
        split=_NORMALISES,
        fusion=Fusion.REDUCE,
        alias=NOT_IN_PLACE,
        flops=lambda result, logits, *_, **attrs: 2 * logits.elements,
        attrs={"top": Attr(int, 1, least=1)},
    ),
)
