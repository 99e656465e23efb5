"""Mean image and colour covariance, exact: sums of integers, so their order does not matter."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.data.dataset import Images, Statistics

BATCH = 16  # images at a time, whose sums fit in 16 bits


@dataclass(frozen=True, eq=False)
class Moments:
    """Of some images: their count, the sum of each pixel u64[3,s,s], and of products of colours."""

    count: int
    pixels: npt.NDArray[np.uint64]
    colours: npt.NDArray[np.int64]  # [3,3]; good for 2^31 images of 256x256

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.count + other.count, self.pixels + other.pixels, self.colours + other.colours
        )

    def statistics(self) -> Statistics:
        """Mean and covariance; there must be an image."""
        mean = (self.pixels / self.count).astype(np.float32)
        number = self.count * self.pixels[0].size
        sums = [int(total) for total in self.pixels.sum(axis=(1, 2))]
        # Python's integers, whose quotient is rounded once.
        covariance = [
            (number * int(self.colours[i, j]) - sums[i] * sums[j]) / (number * max(1, number - 1))
            for i in range(3)
            for j in range(3)
        ]
        return Statistics(mean, np.array(covariance, np.float64).reshape(3, 3))


def nothing(size: int) -> Moments:
    """The moments of no image of a side."""
    return Moments(0, np.zeros((3, size, size), np.uint64), np.zeros((3, 3), np.int64))


def moments(images: Images) -> Moments:
    """Of images u8[n,3,s,s]."""
    total = nothing(images.shape[-1])
    for first in range(0, len(images), BATCH):
        some = images[first : first + BATCH]
        colours = np.zeros((3, 3), np.int64)
        for image in some:
            wide = image.astype(np.uint32)  # holds what a row adds up to
            rows = np.einsum("irc,jrc->ijr", wide, wide)
            colours += rows.sum(axis=-1, dtype=np.int64)
        pixels = some.sum(axis=0, dtype=np.uint16).astype(np.uint64)
        total += Moments(len(some), pixels, colours)
    return total
