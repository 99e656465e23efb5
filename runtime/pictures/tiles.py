"""Arrays of numbers as pixels."""

import math

import numpy as np
import numpy.typing as npt

from runtime.pictures.canvas import Rgb

Array = npt.NDArray[np.floating]


def around_grey(values: Array, most: float) -> Rgb:
    """[c,h,w] with c of 1 or 3 as pixels: 0 is grey, -most black, +most white (or colours)."""
    shares = np.clip(0.5 + values / (2 * most or 1), 0, 1)
    return _pixels(np.rint(255 * shares).astype(np.uint8))


def from_black(values: Array) -> Rgb:
    """[h,w] as grey pixels, the least black and the largest white."""
    low, high = values.min(), values.max()
    shares = (values - low) / ((high - low) or 1)
    return _pixels(np.rint(255 * shares[None]).astype(np.uint8))


def colours(image: npt.NDArray[np.uint8]) -> Rgb:
    """u8[3,h,w] as pixels."""
    return _pixels(image)


def _pixels(channels: npt.NDArray[np.uint8]) -> Rgb:
    rgb = np.broadcast_to(channels, (3, *channels.shape[1:]))
    return np.ascontiguousarray(rgb.transpose(1, 2, 0))


def columns_for(count: int) -> int:
    """How many tiles make a row, so that `count` of them fill a page rather wide than high."""
    rows = max(1, round(math.sqrt(count / 1.5)))
    return -(-count // rows)
