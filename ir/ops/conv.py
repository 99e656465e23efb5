"""Grouped 2-d convolution (cross-correlation, as in the 2012 code) and its two adjoints.

With xp the padded image, conv is linear in x and in w, tap by tap:
    y[n,o,i,j] = sum over c,r,s of w[o,c,r,s] * xp[n, group(o)*C + c, i*sh + r, j*sw + s]
so conv_dx scatters w^T dy back to the pixel each tap met, and conv_dw correlates that pixel
with dy. All three run over the same taps.
"""

import numpy as np

from ir.graph import AttrValue
from ir.op import (
    Absent,
    Array,
    Attr,
    Fusion,
    Local,
    Op,
    Param,
    Shards,
    Whole,
    require,
)
from ir.ops.elementwise import AFTER_GRAD, FIRST_ORDER
from ir.ops.precision import MATH, rounded
from ir.ops.window import STRIDE_PAD, padded, positions, require_images, taps, unpadded
from ir.type import DType, TensorType

Ints = tuple[int, ...]

GEOMETRY = {**STRIDE_PAD, "groups": Attr(int, 1, least=1), **MATH}
NOT_IN_PLACE = Absent("every result element needs many operand elements")


def require_groups(x: TensorType, groups: int) -> None:
    """Raise IRError unless the groups divide x's maps."""
    require(
        x.shape[1] % groups == 0,
        f"{groups} groups do not divide {x.shape[1]} channels, expected a divisor",
    )


def require_weights(x: TensorType, w: TensorType, channels: int) -> None:
    """Raise IRError unless w reads `channels` maps and has x's dtype."""
    require(
        w.shape[1] == channels and w.dtype == x.dtype,
        f"expected weights [maps,{channels},kh,kw] of dtype {x.dtype}, got {w}",
    )


def conv_type(
    x: TensorType, w: TensorType, *, stride: Ints, pad: Ints, groups: int, **_: AttrValue
) -> TensorType:
    """[N,C,H,W] and [O,C/groups,kh,kw] give [N,O,OH,OW]."""
    require_images(x)
    require(w.rank == 4, f"expected weights [O,I,kh,kw], got {w}")
    require(
        x.shape[1] % groups == 0 and w.shape[0] % groups == 0,
        f"{groups} groups do not divide {x.shape[1]} channels and {w.shape[0]} maps, expected a "
        "common divisor",
    )
    require_weights(x, w, x.shape[1] // groups)
    out = positions(x.shape[2:], w.shape[2:], stride, pad)
    return x.with_shape(x.shape[0], w.shape[0], *out)


def conv_dx_type(
    w: TensorType,
    dy: TensorType,
    *,
    stride: Ints,
    pad: Ints,
    groups: int,
    size: Ints,
    math: str,
) -> TensorType:
    """The type of x whose convolution has the type of dy."""
    require_images(dy)
    require(w.rank == 4, f"expected weights [O,I,kh,kw], got {w}")
    x = dy.with_shape(dy.shape[0], w.shape[1] * groups, *size)
    forward = conv_type(x, w, stride=stride, pad=pad, groups=groups)
    require(forward == dy, f"an image of size {list(size)} gives {forward}, expected dy, {dy}")
    return x


def conv_dw_type(
    x: TensorType,
    dy: TensorType,
    *,
    stride: Ints,
    pad: Ints,
    groups: int,
    kernel: Ints,
    math: str,
) -> TensorType:
    """The type of w whose convolution has the type of dy; always f32, to be summed exactly."""
    require_images(x)
    require_images(dy)
    require_groups(x, groups)
    w = x.with_shape(dy.shape[1], x.shape[1] // groups, *kernel)
    forward = conv_type(x, w, stride=stride, pad=pad, groups=groups)
    require(forward == dy, f"a kernel of size {list(kernel)} gives {forward}, expected dy, {dy}")
    return w.with_dtype(DType.F32)


def _grouped(v: Array, groups: int, axis: int) -> Array:
    shape = v.shape
    return v.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


def conv(x: Array, w: Array, *, stride: Ints, pad: Ints, groups: int, math: str) -> Array:
    """y, tap by tap."""
    x, w = rounded(x, math), _grouped(rounded(w, math), groups, 0)
    out = positions(x.shape[2:], w.shape[3:], stride, pad)
    y: Array = np.zeros((x.shape[0], groups, w.shape[1], *out), x.dtype)
    for r, s, tap in taps(padded(x, pad), w.shape[3:], stride, out):
        y += np.einsum("ngcij,goc->ngoij", _grouped(tap, groups, 1), w[..., r, s], optimize=True)
    return y.reshape(x.shape[0], -1, *out)


def conv_dx(
    w: Array, dy: Array, *, stride: Ints, pad: Ints, groups: int, size: Ints, math: str
) -> Array:
    """dL/dx: every tap hands w^T dy back to the pixel it met."""
    w, dy = _grouped(rounded(w, math), groups, 0), _grouped(rounded(dy, math), groups, 1)
    height, width = size[0] + pad[0] + pad[1], size[1] + pad[2] + pad[3]
    dx = np.zeros((dy.shape[0], groups * w.shape[2], height, width), dy.dtype)
    for r, s, tap in taps(dx, w.shape[3:], stride, dy.shape[3:]):
        part = np.einsum("ngoij,goc->ngcij", dy, w[..., r, s], optimize=True)
        tap += part.reshape(tap.shape)
    return unpadded(dx, pad)


def conv_dw(
    x: Array, dy: Array, *, stride: Ints, pad: Ints, groups: int, kernel: Ints, math: str
) -> Array:
    """dL/dw: every tap correlates the pixels it met with dy."""
    x, dy = rounded(x, math), _grouped(rounded(dy, math), groups, 1)
    channels = x.shape[1] // groups
    dw = np.zeros((groups, dy.shape[2], channels, *kernel), x.dtype)
    for r, s, tap in taps(padded(x, pad), kernel, stride, dy.shape[3:]):
        grouped = _grouped(tap, groups, 1)
        dw[..., r, s] = np.einsum("ngcij,ngoij->goc", grouped, dy, optimize=True)
    return dw.reshape(-1, channels, *kernel)


def conv_split(
    parts: int, x: TensorType, w: TensorType, *, groups: int, whole: int, **_: AttrValue
) -> Shards | str:
    """Groups fall apart; a dense convolution reads everything and cuts its maps."""
    if whole:
        return "the model keeps it whole"
    if w.shape[0] % parts:
        return f"its {w.shape[0]} maps do not divide by {parts}"
    if groups == 1:
        return Shards((Whole(), Param()))
    if groups % parts:
        return f"its {groups} groups do not divide over {parts} devices"
    return Shards((Local(), Param()), lambda shard: {"groups": groups // parts})


def _flops(result: TensorType, x: TensorType, w: TensorType, **_: AttrValue) -> int:
    return 2 * result.elements * (w.elements // w.shape[0])


def _flops_dx(result: TensorType, w: TensorType, dy: TensorType, **_: AttrValue) -> int:
    return 2 * dy.elements * (w.elements // w.shape[0])


def _flops_dw(result: TensorType, x: TensorType, dy: TensorType, **_: AttrValue) -> int:
    return 2 * dy.elements * (result.elements // result.shape[0])


def _geometry(attrs: dict[str, AttrValue]) -> dict[str, AttrValue]:
    return {key: attrs[key] for key in GEOMETRY}


ROWS = (
    Op(
        name="conv",
        doc="Grouped cross-correlation of images [N,C,H,W] with weights [O,C/groups,kh,kw].",
        operands=("x", "w"),
        type=conv_type,
        reference=lambda x, w, *, whole, **attrs: conv(x, w, **attrs),
        gradient={
            "x": lambda a: a.emit(
                "conv_dx", a.inputs[1], a.dy, size=a.inputs[0].type.shape[2:], **_geometry(a.attrs)
            ),
            "w": lambda a: a.emit(
                "conv_dw",
                a.inputs[0],
                a.dy,
                kernel=a.inputs[1].type.shape[2:],
                **_geometry(a.attrs),
            ),
        },
        split=conv_split,
        fusion=Fusion.ANCHOR,
        alias=NOT_IN_PLACE,
        flops=_flops,
        attrs={**GEOMETRY, "whole": Attr(int, 0, least=0, below=2)},
    ),
    Op(
        name="conv_dx",
        doc="dL/dx of conv, for an image of `size` [H,W].",
        operands=("w", "dy"),
        type=conv_dx_type,
        reference=conv_dx,
        gradient=FIRST_ORDER,
        split=AFTER_GRAD,
        fusion=Fusion.ANCHOR,
        alias=NOT_IN_PLACE,
        flops=_flops_dx,
        attrs={**GEOMETRY, "size": Attr(tuple, least=1, length=2)},
    ),
    Op(
        name="conv_dw",
        doc="dL/dw of conv, for a `kernel` [kh,kw].",
        operands=("x", "dy"),
        type=conv_dw_type,
        reference=conv_dw,
        gradient=FIRST_ORDER,
        split=AFTER_GRAD,
        fusion=Fusion.ANCHOR,
        alias=NOT_IN_PLACE,
        flops=_flops_dw,
        attrs={**GEOMETRY, "kernel": Attr(tuple, least=1, length=2)},
    ),
)
