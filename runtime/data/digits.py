"""`digits`: scikit-learn's 1,797 scans of handwritten digits, 8x8 pixels in 17 shades, enlarged.

Each scan fills the middle 7/8 of the image, so that a crop of 7/8 loses next to nothing of it.
"""

import numpy as np
from PIL import Image

from ir.optional import optional
from runtime.data import draws
from runtime.data.dataset import Dataset, Images, Part, Suits
from runtime.data.draws import Indices, Purpose
from runtime.rates import Milestones
from runtime.recipe import Recipe

CLASSES = 10
VALIDATION = 300
WHITE = 16  # in the scans

RECIPE = Recipe(rate=0.004, epochs=20, schedule=Milestones(epochs=(15,)), batch=32)


def digits(size: int) -> Dataset:
    """The data set, with images of a side of `size`. Raises Error without scikit-learn."""
    source = optional("sklearn.datasets", extra="demo").load_digits()
    scans = np.rint(source.images * (255 / WHITE)).astype(np.uint8)
    labels = source.target.astype(np.int32)
    mixed = draws.order(len(labels), Purpose.SPLIT, seed=0)

    def part(chosen: Indices) -> Part:
        return Part(labels[chosen], lambda indices: _enlarged(scans[chosen[indices]], size))

    return Dataset(
        name="digits",
        about=f"{len(labels)} scans of handwritten digits, from scikit-learn",
        classes=CLASSES,
        train=part(mixed[VALIDATION:]),
        validation=part(mixed[:VALIDATION]),
        suits=Suits(crop=True, flip=False),  # a mirrored digit is another sign
        recipe=RECIPE,
    )


def _enlarged(scans: Images, size: int) -> Images:
    inner = max(1, size * 7 // 8)
    first = (size - inner) // 2
    grey = np.zeros((len(scans), 1, size, size), np.uint8)
    for image, scan in zip(grey, scans, strict=True):
        larger = Image.fromarray(scan).resize((inner, inner), Image.Resampling.BICUBIC)
        image[0, first : first + inner, first : first + inner] = np.asarray(larger)
    return np.broadcast_to(grey, (len(scans), 3, size, size))
