"""What is learnt from the training images before training: their mean, and how colours vary."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from runtime.data.dataset import Images, Part

CHUNK = 64  # images read at once
STRIDE = 8  # of the pixels that colours are learnt from, where a store does not say

Floats = npt.NDArray[np.float64]


@lru_cache(maxsize=2)
def mean_image(part: Part) -> npt.NDArray[np.float32]:
    """f32[3,size,size]: the mean of each pixel."""
    if part.statistics:
        return part.statistics.mean
    total = sum(images.sum(axis=0, dtype=np.uint64) for images in _chunks(part))
    return (np.asarray(total) / len(part)).astype(np.float32)


@lru_cache(maxsize=2)
def colour_axes(part: Part) -> Floats:
    """[3,3]: the principal directions of the pixels' colours as columns, one deviation long.

    The paper multiplies by eigenvalues, which are variances; its program by deviations.
    """
    variances, axes = np.linalg.eigh(_covariance(part))
    # An axis has no sign of its own; this one does not depend on the library.
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), range(3)])
    return np.asarray(axes * signs * np.sqrt(np.maximum(variances, 0)))


def _covariance(part: Part) -> Floats:
    if part.statistics:
        return part.statistics.covariance
    pixels = [images[:, :, ::STRIDE, ::STRIDE] for images in _chunks(part)]
    colours = np.concatenate([some.transpose(1, 0, 2, 3).reshape(3, -1) for some in pixels], axis=1)
    return np.cov(colours.astype(np.float64))


def _chunks(part: Part) -> Iterator[Images]:
    for first in range(0, len(part), CHUNK):
        yield part.read(np.arange(first, min(first + CHUNK, len(part))))
