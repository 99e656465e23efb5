"""A picture brought to a square: its shorter side to the square's, then the middle of the longer.

Shrinking takes the mean of the area that a pixel covers; enlarging is Pillow's bicubic. All in
integers, so that the same picture gives the same bytes on every machine.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

UNIT = 256  # the weights of what a pixel is the mean of add up to this
COARSE = 4  # shrinking by twice this or more, whole pixels are averaged first

Pixels = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.uint16]
Indices = npt.NDArray[np.int64]


def square(image: Image.Image, size: int) -> Pixels:
    """The middle of an image of c bands of 8 bits as u8[c,size,size]."""
    coarser = min(image.size) // (size * COARSE)
    if coarser > 1:
        image = image.reduce(coarser)
    return _shrunk(image, size) if min(image.size) >= size else _enlarged(image, size)


def _window(length: int, shorter: int, size: int) -> tuple[int, int]:
    """What a side of `length` is brought to, and where the middle `size` of that begins."""
    new = length * size // shorter
    return new, (new - size) // 2


def _enlarged(image: Image.Image, size: int) -> Pixels:
    spans = []
    for length in image.size:
        new, first = _window(length, min(image.size), size)
        spans.append((first * length / new, min(length, (first + size) * length / new)))
    (left, right), (upper, lower) = spans
    box = (left, upper, right, lower)
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))
    return pixels.reshape(size, size, -1).transpose(2, 0, 1)


def _shrunk(image: Image.Image, size: int) -> Pixels:
    columns, rows = (_taps(length, min(image.size), size) for length in image.size)
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    pixels = pixels[:, columns[0].min() : columns[0].max() + 1]
    width, bands = pixels.shape[1:]
    tall = _means(pixels.reshape(image.height, -1).astype(np.uint16), *rows)
    # Columns first, so that their means are those of whole lines again.
    turned = tall.reshape(size, width, bands).transpose(1, 2, 0)
    lines = np.ascontiguousarray(turned, np.uint32).reshape(width, -1)
    means = _means(lines, columns[0] - columns[0].min(), columns[1])
    rounded = (means + UNIT * UNIT // 2) // (UNIT * UNIT)
    return rounded.astype(np.uint8).reshape(size, bands, size).transpose(1, 2, 0)


@lru_cache(maxsize=64)
def _taps(length: int, shorter: int, size: int) -> tuple[Indices, Weights]:
    """Of each of the new pixels [size]: the old ones [taps,size] it covers, and their weights."""
    new, first = _window(length, shorter, size)
    starts = np.arange(first, first + size) * length  # in parts of 1/new of an old pixel
    covered = starts // new + np.arange(-(-length // new) + 1)[:, None]
    # Rounding what is covered up to each old pixel, not its part, keeps the sum exact.
    reached = np.clip((covered + 1) * new - starts, 0, length)
    upto = (2 * UNIT * reached + length) // (2 * length)
    weights = np.diff(upto, axis=0, prepend=0).astype(np.uint16)
    return np.minimum(covered, length - 1), weights


def _means(
    lines: npt.NDArray[np.unsignedinteger], covered: Indices, weights: Weights
) -> npt.NDArray[np.unsignedinteger]:
    """UNIT times the weighted means of lines [old,n], as [new,n] of the same type."""
    total = np.zeros((covered.shape[1], lines.shape[1]), lines.dtype)
    for index, weight in zip(covered, weights.astype(lines.dtype), strict=True):
        total += lines[index] * weight[:, None]
    return total
