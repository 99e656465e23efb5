"""A picture brought to a square: its shorter side to the square's, then the middle of the longer.

Shrinking takes the mean of the area that a pixel covers; enlarging is Pillow's bicubic. All in
integers, so that the same picture gives the same bytes on every machine.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

UNIT = 256  # the weights of what a pixel is the mean of add up to this
COARSE = 4  # shrinking by twice this or more, whole pixels are averaged first
BLOCK = 32  # lines worked on at a time
STRIP = 4  # times its shorter side: what is looked at of the longer one

Pixels = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.uint16]
Indices = npt.NDArray[np.int64]


def square(image: Image.Image, size: int) -> Pixels:
    """The middle of an image of c bands of 8 bits as u8[c,size,size]."""
    image = _without_ends(image)
    coarser = min(image.size) // (size * COARSE)
    if coarser > 1:
        image = image.reduce(coarser)
    return _shrunk(image, size) if min(image.size) >= size else _enlarged(image, size)


def _without_ends(image: Image.Image) -> Image.Image:
    """Less of an image that is much longer than wide; enlarged, a strip could fill the memory."""
    if max(image.size) <= STRIP * min(image.size):
        return image
    width, height = (min(length, STRIP * min(image.size)) for length in image.size)
    left, upper = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, upper, left + width, upper + height))


def _window(length: int, shorter: int, size: int) -> tuple[int, int]:
    """What a side of `length` is brought to, and where the middle `size` of that begins."""
    new = length * size // shorter
    return new, (new - size) // 2


def _enlarged(image: Image.Image, size: int) -> Pixels:
    (width, left), (height, upper) = (_window(n, min(image.size), size) for n in image.size)
    whole = image.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(whole).reshape(height, width, -1)
    return pixels[upper : upper + size, left : left + size].transpose(2, 0, 1)


def _shrunk(image: Image.Image, size: int) -> Pixels:
    columns, rows = (_taps(length, min(image.size), size) for length in image.size)
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    pixels = pixels[:, columns[0].min() : columns[0].max() + 1]
    width, bands = pixels.shape[1:]
    tall = _means(pixels.reshape(image.height, -1), *rows, np.uint16)
    # Columns first, so that their means are those of whole lines again.
    lines = tall.reshape(size, width, bands).transpose(1, 2, 0).reshape(width, -1)
    means = _means(lines, columns[0] - columns[0].min(), columns[1], np.uint32)
    means += UNIT * UNIT // 2
    means //= UNIT * UNIT
    return means.astype(np.uint8).reshape(size, bands, size).transpose(1, 2, 0)


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
    lines: npt.NDArray[Any], covered: Indices, weights: Weights, dtype: type[np.unsignedinteger]
) -> npt.NDArray[Any]:
    """UNIT times the weighted means of lines [old,n], as [new,n] of a type that holds them."""
    lines = lines.astype(dtype)
    found = np.zeros((covered.shape[1], lines.shape[1]), dtype)
    factors = weights.astype(dtype)[:, :, None]
    for first in range(0, len(found), BLOCK):  # few lines at a time stay in the cache
        some = slice(first, first + BLOCK)
        for index, factor in zip(covered[:, some], factors[:, some], strict=True):
            part = lines.take(index, axis=0)
            part *= factor
            found[some] += part
    return found
