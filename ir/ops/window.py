"""Geometry of sliding windows, shared by convolution and pooling.

`pad` is (top, bottom, left, right), rows and columns of nothing around the image: zeros for a
convolution, no pixels at all for a pool. A window that overhangs the far edge (the 2012 code's
ceil rule) is a larger bottom or right pad.
"""

from collections.abc import Iterator

import numpy as np

from ir.op import Array, Attr, require
from ir.type import TensorType

STRIDE_PAD = {
    "stride": Attr(tuple, (1, 1), least=1, length=2),
    "pad": Attr(tuple, (0, 0, 0, 0), least=0, length=4),
}


def positions(
    size: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...], pad: tuple[int, ...]
) -> tuple[int, int]:
    """How many windows fit, down and across: floor((size + pads - window) / stride) + 1."""
    padded = size[0] + pad[0] + pad[1], size[1] + pad[2] + pad[3]
    require(
        window[0] <= padded[0] and window[1] <= padded[1],
        f"window {list(window)} is larger than the padded image, expected at most {list(padded)}",
    )
    down, across = ((p - w) // s + 1 for p, w, s in zip(padded, window, stride, strict=True))
    return down, across


def require_images(x: TensorType) -> None:
    """Raise IRError unless x is a float [N,C,H,W]."""
    require(x.rank == 4 and x.dtype.is_float, f"expected a float [N,C,H,W], got {x}")


def padded(x: Array, pad: tuple[int, ...], value: float = 0.0) -> Array:
    """x [N,C,H,W] with `value` around it."""
    return np.pad(x, ((0, 0), (0, 0), pad[0:2], pad[2:4]), constant_values=value)


def unpadded(x: Array, pad: tuple[int, ...]) -> Array:
    """The image inside the padding, as a view."""
    height, width = x.shape[2:]
    return x[:, :, pad[0] : height - pad[1], pad[2] : width - pad[3]]


def taps(
    x: Array, window: tuple[int, ...], stride: tuple[int, ...], out: tuple[int, ...]
) -> Iterator[tuple[int, int, Array]]:
    """Yield (r, s, view): for each tap of the window, the pixel it meets at every position.

    `x` [N,C,H,W] is padded already; the views have shape [N,C,*out] and may be written to.
    """
    for r in range(window[0]):
        for s in range(window[1]):
            down = slice(r, r + stride[0] * (out[0] - 1) + 1, stride[0])
            across = slice(s, s + stride[1] * (out[1] - 1) + 1, stride[1])
            yield r, s, x[:, :, down, across]
