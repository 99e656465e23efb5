"""Elementwise arithmetic, activations, biases, casts."""

import numpy as np

from ir.graph import AttrValue, Node
from ir.op import (
    Absent,
    Adjoint,
    Array,
    Attr,
    Fusion,
    Local,
    Op,
    Param,
    Shards,
    per_element,
    require,
    split_locally,
    uneven,
)
from ir.type import DType, TensorType

FIRST_ORDER = Absent("part of a gradient; training needs first order only")
AFTER_GRAD = Absent("exists only after grad; splitting is done before")


def same_type(x: TensorType, *others: TensorType, **_: AttrValue) -> TensorType:
    """All operands alike; the result too. The dtype must be a float."""
    require(x.dtype.is_float, f"expected a float operand, got {x}")
    for other in others:
        require(
            (other.shape, other.dtype) == (x.shape, x.dtype),
            f"expected operands of one shape and dtype, got {x} and {other}",
        )
    return x


def scaled_type(x: TensorType, s: TensorType) -> TensorType:
    """A float tensor and an f32 scalar."""
    require(x.dtype.is_float, f"expected a float operand, got {x}")
    require(s.rank == 0 and s.dtype is DType.F32, f"expected the scalar f32[], got {s}")
    return x


def bias_type(x: TensorType, b: TensorType) -> TensorType:
    """`b` has the extents of x's axes 1 to b.rank: [C] is shared over positions, [C,H,W] not."""
    require(x.dtype.is_float and b.dtype.is_float, f"expected floats, got {x} and {b}")
    require(
        b.rank >= 1 and b.shape == x.shape[1 : 1 + b.rank],
        f"expected a bias with the first extents of {list(x.shape[1:])}, got {list(b.shape)}",
    )
    return x


def bias_dw_type(dy: TensorType, *, rank: int) -> TensorType:
    """The extents of axes 1 to rank, always f32."""
    require(dy.rank > rank, f"expected more than {rank} dimensions, got {dy}")
    return dy.with_shape(*dy.shape[1 : 1 + rank]).with_dtype(DType.F32)


def bias_add(x: Array, b: Array) -> Array:
    """x + b, b spread over images and the trailing axes."""
    return x + b.reshape(b.shape + (1,) * (x.ndim - 1 - b.ndim))


def bias_dw(dy: Array, *, rank: int) -> Array:
    """Sum over every axis that the bias was spread over."""
    total: Array = dy.sum(axis=(0, *range(rank + 1, dy.ndim)))
    return total


def bias_split(parts: int, x: TensorType, b: TensorType) -> Shards | str:
    """Both fall apart by channel."""
    return uneven(parts, x) or Shards((Local(), Param()))


def pass_through(a: Adjoint) -> Node:
    """The cotangent itself."""
    return a.dy


def _pointwise(name: str, doc: str, operands: tuple[str, ...], **cells: object) -> Op:
    defaults: dict[str, object] = {
        "type": same_type,
        "split": split_locally,
        "fusion": Fusion.POINTWISE,
        "alias": operands,
        "flops": per_element(1),
    }
    return Op(name=name, doc=doc, operands=operands, **(defaults | cells))  # type: ignore[arg-type]


ROWS = (
    _pointwise(
        "add",
        "a + b",
        ("a", "b"),
        reference=lambda a, b: a + b,
        gradient={"a": pass_through, "b": pass_through},
    ),
    _pointwise(
        "sub",
        "a - b",
        ("a", "b"),
        reference=lambda a, b: a - b,
        gradient={"a": pass_through, "b": lambda a: a.emit("scale", a.dy, by=-1.0)},
    ),
    _pointwise(
        "mul",
        "a * b",
        ("a", "b"),
        reference=lambda a, b: a * b,
        gradient={
            "a": lambda a: a.emit("mul", a.dy, a.inputs[1]),
            "b": lambda a: a.emit("mul", a.dy, a.inputs[0]),
        },
    ),
    _pointwise(
        "scale",
        "x times a constant",
        ("x",),
        reference=lambda x, *, by: x * by,
        gradient={"x": lambda a: a.emit("scale", a.dy, **a.attrs)},
        attrs={"by": Attr(float)},
    ),
    _pointwise(
        "scale_by",
        "x times a fed scalar",
        ("x", "s"),
        type=scaled_type,
        reference=lambda x, s: x * s,
        gradient={
            "x": lambda a: a.emit("scale_by", a.dy, a.inputs[1]),
            "s": Absent("the scalar is fed, never trained"),
        },
        alias=("x",),
    ),
    _pointwise(
        "cast",
        "x in another element type",
        ("x",),
        type=lambda x, *, to: x.with_dtype(DType(to)),
        reference=lambda x, *, to: x,
        gradient={"x": lambda a: a.emit("cast", a.dy, to=str(a.inputs[0].type.dtype))},
        alias=Absent("element sizes differ"),
        flops=per_element(0),
        attrs={"to": Attr(str, choices=("f32", "bf16"))},
    ),
    _pointwise(
        "relu",
        "max(x, 0)",
        ("x",),
        reference=lambda x: np.maximum(x, 0),
        gradient={"x": lambda a: a.emit("relu_dx", a.node, a.dy)},
    ),
    _pointwise(
        "relu_dx",
        "dy where the output y of relu is positive, else 0 (0 at exactly 0)",
        ("y", "dy"),
        reference=lambda y, dy: np.where(y > 0, dy, 0),
        gradient=FIRST_ORDER,
        split=AFTER_GRAD,
    ),
    _pointwise(
        "tanh",
        "tanh(x)",
        ("x",),
        reference=np.tanh,
        gradient={"x": lambda a: a.emit("tanh_dx", a.node, a.dy)},
        flops=per_element(10),
    ),
    _pointwise(
        "tanh_dx",
        "dy * (1 - y^2), y = tanh(x)",
        ("y", "dy"),
        reference=lambda y, dy: dy * (1 - y * y),
        gradient=FIRST_ORDER,
        split=AFTER_GRAD,
        flops=per_element(3),
    ),
    _pointwise(
        "bias_add",
        "x + b, one bias per channel ([C]) or per position ([C,H,W])",
        ("x", "b"),
        type=bias_type,
        reference=bias_add,
        gradient={
            "x": pass_through,
            "b": lambda a: a.emit("bias_dw", a.dy, rank=a.inputs[1].type.rank),
        },
        split=bias_split,
        alias=("x",),
    ),
    _pointwise(
        "bias_dw",
        "dy summed over the images and all axes after `rank`",
        ("dy",),
        type=bias_dw_type,
        reference=bias_dw,
        gradient=FIRST_ORDER,
        split=AFTER_GRAD,
        fusion=Fusion.REDUCE,
        alias=Absent("a sum is smaller than its terms"),
        flops=lambda result, dy, **_: dy.elements,
        attrs={"rank": Attr(int, least=1)},
    ),
)
