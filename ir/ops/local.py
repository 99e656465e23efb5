"""Locally connected layers: a convolution whose weights are not shared over positions.

y[n,o,i,j] = sum over c,r,s of w[o,i,j,c,r,s] * xp[n, c, i*sh + r, j*sw + s]
"""

import numpy as np

from ir.graph import AttrValue
from ir.op import Array, Attr, Fusion, Op, Param, Shards, Whole, require
from ir.ops.conv import NOT_IN_PLACE
from ir.ops.elementwise import AFTER_GRAD, FIRST_ORDER
from ir.ops.precision import MATH, rounded
from ir.ops.window import STRIDE_PAD, padded, positions, require_images, taps, unpadded
from ir.type import DType, TensorType

Ints = tuple[int, ...]

GEOMETRY = {**STRIDE_PAD, **MATH}


def local_type(
    x: TensorType, w: TensorType, *, stride: Ints, pad: Ints, **_: AttrValue
) -> TensorType:
    """[N,C,H,W] and [O,OH,OW,C,kh,kw] give [N,O,OH,OW]."""
    require_images(x)
    require(w.rank == 6, f"expected weights [O,OH,OW,C,kh,kw], got {w}")
    out = positions(x.shape[2:], w.shape[4:], stride, pad)
    expected = (w.shape[0], *out, x.shape[1], *w.shape[4:])
    require(
        w.shape == expected and w.dtype == x.dtype,
        f"expected weights {list(expected)} of dtype {x.dtype}, got {w}",
    )
    return x.with_shape(x.shape[0], w.shape[0], *out)


def local_dx_type(
    w: TensorType, dy: TensorType, *, stride: Ints, pad: Ints, size: Ints, math: str
) -> TensorType:
    """The type of x whose result has the type of dy."""
    require_images(dy)
    require(w.rank == 6, f"expected weights [O,OH,OW,C,kh,kw], got {w}")
    x = dy.with_shape(dy.shape[0], w.shape[3], *size)
    forward = local_type(x, w, stride=stride, pad=pad)
    require(forward == dy, f"an image of size {list(size)} gives {forward}, expected dy, {dy}")
    return x


def local_dw_type(
    x: TensorType, dy: TensorType, *, stride: Ints, pad: Ints, kernel: Ints, math: str
) -> TensorType:
    """The type of w whose result has the type of dy; always f32."""
    require_images(x)
    require_images(dy)
    w = x.with_shape(dy.shape[1], *dy.shape[2:], x.shape[1], *kernel)
    forward = local_type(x, w, stride=stride, pad=pad)
    require(forward == dy, f"a kernel of size {list(kernel)} gives {forward}, expected dy, {dy}")
    return w.with_dtype(DType.F32)


def local(x: Array, w: Array, *, stride: Ints, pad: Ints, math: str) -> Array:
    """y, tap by tap."""
    x, w = rounded(x, math), rounded(w, math)
    y: Array = np.zeros((x.shape[0], *w.shape[:3]), x.dtype)
    for r, s, tap in taps(padded(x, pad), w.shape[4:], stride, w.shape[1:3]):
        y += np.einsum("ncij,oijc->noij", tap, w[..., r, s], optimize=True)
    return y


def local_dx(w: Array, dy: Array, *, stride: Ints, pad: Ints, size: Ints, math: str) -> Array:
    """dL/dx: every tap hands w^T dy back to the pixel it met."""
    w, dy = rounded(w, math), rounded(dy, math)
    height, width = size[0] + pad[0] + pad[1], size[1] + pad[2] + pad[3]
    dx = np.zeros((dy.shape[0], w.shape[3], height, width), dy.dtype)
    for r, s, tap in taps(dx, w.shape[4:], stride, dy.shape[2:]):
        tap += np.einsum("noij,oijc->ncij", dy, w[..., r, s], optimize=True)
    return unpadded(dx, pad)


def local_dw(x: Array, dy: Array, *, stride: Ints, pad: Ints, kernel: Ints, math: str) -> Array:
    """dL/dw: every position correlates its own pixels with its own dy."""
    x, dy = rounded(x, math), rounded(dy, math)
    dw = np.zeros((*dy.shape[1:], x.shape[1], *kernel), x.dtype)
    for r, s, tap in taps(padded(x, pad), kernel, stride, dy.shape[2:]):
        dw[..., r, s] = np.einsum("ncij,noij->oijc", tap, dy, optimize=True)
    return dw


def local_split(
    parts: int, x: TensorType, w: TensorType, *, whole: int, **_: AttrValue
) -> Shards | str:
    """Like a dense convolution: reads everything and cuts its maps."""
    if whole:
        return "the model keeps it whole"
    if w.shape[0] % parts:
        return f"its {w.shape[0]} maps do not divide by {parts}"
    return Shards((Whole(), Param()))


def _flops(result: TensorType, x: TensorType, w: TensorType, **_: AttrValue) -> int:
    return 2 * x.shape[0] * w.elements


def _geometry(attrs: dict[str, AttrValue]) -> dict[str, AttrValue]:
    return {key: attrs[key] for key in GEOMETRY}


ROWS = (
    Op(
        name="local",
        doc="Locally connected layer with weights [O,OH,OW,C,kh,kw].",
        operands=("x", "w"),
        type=local_type,
        reference=lambda x, w, *, whole, **attrs: local(x, w, **attrs),
        gradient={
            "x": lambda a: a.emit(
                "local_dx", a.inputs[1], a.dy, size=a.inputs[0].type.shape[2:], **_geometry(a.attrs)
            ),
            "w": lambda a: a.emit(
                "local_dw",
                a.inputs[0],
                a.dy,
                kernel=a.inputs[1].type.shape[4:],
                **_geometry(a.attrs),
            ),
        },
        split=local_split,
        fusion=Fusion.ANCHOR,
        alias=NOT_IN_PLACE,
        flops=_flops,
        attrs={**GEOMETRY, "whole": Attr(int, 0, least=0, below=2)},
    ),
    Op(
        name="local_dx",
        doc="dL/dx of local, for an image of `size` [H,W].",
        operands=("w", "dy"),
        type=local_dx_type,
        reference=local_dx,
        gradient=FIRST_ORDER,
        split=AFTER_GRAD,
        fusion=Fusion.ANCHOR,
        alias=NOT_IN_PLACE,
        flops=lambda result, w, dy, **_: 2 * dy.shape[0] * w.elements,
        attrs={**GEOMETRY, "size": Attr(tuple, least=1, length=2)},
    ),
    Op(
        name="local_dw",
        doc="dL/dw of local, for a `kernel` [kh,kw].",
        operands=("x", "dy"),
        type=local_dw_type,
        reference=local_dw,
        gradient=FIRST_ORDER,
        split=AFTER_GRAD,
        fusion=Fusion.ANCHOR,
        alias=NOT_IN_PLACE,
        flops=lambda result, x, dy, **_: 2 * dy.shape[0] * result.elements,
        attrs={**GEOMETRY, "kernel": Attr(tuple, least=1, length=2)},
    ),
)
