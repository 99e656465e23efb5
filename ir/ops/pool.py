"""Max and average pooling over windows that are clipped to the image.

Padding means "no pixel": the maximum runs over real pixels only, the average divides by how many
there are. With `ties="all"` every pixel equal to the maximum gets the whole gradient, as the 2012
code did; with "first" only the first in row order, as PyTorch does.
"""

import numpy as np

from ir.graph import AttrValue
from ir.op import Array, Attr, Fusion, Op, require, split_locally
from ir.ops.conv import NOT_IN_PLACE
from ir.ops.elementwise import AFTER_GRAD, FIRST_ORDER
from ir.ops.window import STRIDE_PAD, padded, positions, require_images, taps, unpadded
from ir.type import TensorType

Ints = tuple[int, ...]

GEOMETRY = {"window": Attr(tuple, least=1, length=2), **STRIDE_PAD}
TIES = {"ties": Attr(str, "all", choices=("all", "first"))}


def pool_type(
    x: TensorType, *, window: Ints, stride: Ints, pad: Ints, **_: AttrValue
) -> TensorType:
    """[N,C,H,W] gives [N,C,OH,OW]; every window must hold a real pixel."""
    require_images(x)
    out = positions(x.shape[2:], window, stride, pad)
    for size, w, s, before, count in zip(
        x.shape[2:], window, stride, (pad[0], pad[2]), out, strict=True
    ):
        require(
            before < w and (count - 1) * s - before < size,
            f"pad {list(pad)} leaves a window without a pixel; expected pads smaller than the "
            f"window {list(window)} and no window beyond the image",
        )
    return x.with_shape(*x.shape[:2], *out)


def max_pool_dx_type(x: TensorType, dy: TensorType, **attrs: AttrValue) -> TensorType:
    """The type of x, whose pooled type is that of dy."""
    pooled = pool_type(x, **attrs)  # type: ignore[arg-type]
    require(pooled == dy, f"pooling {x} gives {pooled}, expected dy, {dy}")
    return x


def avg_pool_dx_type(dy: TensorType, *, size: Ints, **attrs: AttrValue) -> TensorType:
    """The type of an image of `size` whose pooled type is that of dy."""
    require_images(dy)
    return max_pool_dx_type(dy.with_shape(*dy.shape[:2], *size), dy, **attrs)


def max_pool(x: Array, *, window: Ints, stride: Ints, pad: Ints, ties: str) -> Array:
    """The largest real pixel of every window."""
    out = positions(x.shape[2:], window, stride, pad)
    views = taps(padded(x, pad, -np.inf), window, stride, out)
    largest: Array = np.maximum.reduce([view for _, _, view in views])
    return largest


def max_pool_dx(x: Array, dy: Array, *, window: Ints, stride: Ints, pad: Ints, ties: str) -> Array:
    """dy handed to the maxima, which are found again from x."""
    y = max_pool(x, window=window, stride=stride, pad=pad, ties=ties)
    xp = padded(x, pad, -np.inf)
    dx = np.zeros_like(xp)
    free = np.ones(y.shape, bool)
    pairs = zip(
        taps(xp, window, stride, y.shape[2:]), taps(dx, window, stride, y.shape[2:]), strict=True
    )
    for (_, _, pixel), (_, _, target) in pairs:
        hit = (pixel == y) & free
        target += np.where(hit, dy, 0)
        if ties == "first":
            free &= ~hit
    return unpadded(dx, pad)


def _pixels(
    size: Ints, window: Ints, stride: Ints, pad: Ints, dtype: np.dtype[np.generic]
) -> Array:
    """How many real pixels each window holds."""
    ones = padded(np.ones((1, 1, *size), dtype), pad)
    out = positions(size, window, stride, pad)
    count: Array = np.add.reduce([view for _, _, view in taps(ones, window, stride, out)])
    return count


def avg_pool(x: Array, *, window: Ints, stride: Ints, pad: Ints) -> Array:
    """The mean of every window's real pixels."""
    out = positions(x.shape[2:], window, stride, pad)
    total = np.add.reduce([view for _, _, view in taps(padded(x, pad), window, stride, out)])
    mean: Array = total / _pixels(x.shape[2:], window, stride, pad, x.dtype)
    return mean


def avg_pool_dx(dy: Array, *, size: Ints, window: Ints, stride: Ints, pad: Ints) -> Array:
    """dy over the pixel count, spread over the window."""
    share = dy / _pixels(size, window, stride, pad, dy.dtype)
    height, width = size[0] + pad[0] + pad[1], size[1] + pad[2] + pad[3]
    dx = np.zeros((*dy.shape[:2], height, width), dy.dtype)
    for _, _, target in taps(dx, window, stride, dy.shape[2:]):
        target += share
    return unpadded(dx, pad)


def _flops(result: TensorType, *operands: TensorType, window: Ints, **_: AttrValue) -> int:
    return max(t.elements for t in (result, *operands)) * window[0] * window[1]


ROWS = (
    Op(
        name="max_pool",
        doc="Maximum over clipped windows.",
        operands=("x",),
        type=pool_type,
        reference=max_pool,
        gradient={"x": lambda a: a.emit("max_pool_dx", a.inputs[0], a.dy, **a.attrs)},
        split=split_locally,
        fusion=Fusion.WINDOW,
        alias=NOT_IN_PLACE,
        flops=lambda result, x, **attrs: result.elements * attrs["window"][0] * attrs["window"][1],
        attrs={**GEOMETRY, **TIES},
    ),
    Op(
        name="max_pool_dx",
        doc="dL/dx of max_pool; finds the maxima again from x.",
        operands=("x", "dy"),
        type=max_pool_dx_type,
        reference=max_pool_dx,
        gradient=FIRST_ORDER,
        split=AFTER_GRAD,
        fusion=Fusion.WINDOW,
        alias=NOT_IN_PLACE,
        flops=_flops,
        attrs={**GEOMETRY, **TIES},
    ),
    Op(
        name="avg_pool",
        doc="Mean of the real pixels of clipped windows.",
        operands=("x",),
        type=pool_type,
        reference=avg_pool,
        gradient={
            "x": lambda a: a.emit("avg_pool_dx", a.dy, size=a.inputs[0].type.shape[2:], **a.attrs)
        },
        split=split_locally,
        fusion=Fusion.WINDOW,
        alias=NOT_IN_PLACE,
        flops=lambda result, x, **attrs: result.elements * attrs["window"][0] * attrs["window"][1],
        attrs=GEOMETRY,
    ),
    Op(
        name="avg_pool_dx",
        doc="dL/dx of avg_pool, for an image of `size` [H,W].",
        operands=("dy",),
        type=avg_pool_dx_type,
        reference=avg_pool_dx,
        gradient=FIRST_ORDER,
        split=AFTER_GRAD,
        fusion=Fusion.WINDOW,
        alias=NOT_IN_PLACE,
        flops=_flops,
        attrs={**GEOMETRY, "size": Attr(tuple, least=1, length=2)},
    ),
)
