"""`photos`: windows of a few photographs; the label says which one a window is from.

The photographs are scikit-learn's two and, where it is installed, scikit-image's. Windows for
training come from the left part of a photograph, those for validation from the right part.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from ir.optional import optional
from runtime.data import draws
from runtime.data.dataset import Dataset, Images, Part, Suits
from runtime.data.draws import Indices, Purpose
from runtime.rates import Milestones
from runtime.recipe import Recipe

TRAIN, VALIDATION = 1024, 256  # windows
LEFT = 0.6  # of the width
ROOM = 1.25  # the least that a part measures, in sides of a window
MORE = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")

RECIPE = Recipe(rate=0.001, epochs=10, schedule=Milestones(epochs=(8,)), batch=32)


def photos(size: int) -> Dataset:
    """The data set, with windows of a side of `size`. Raises Error without scikit-learn."""
    shots = [_enlarged(photo, size) for photo in _photographs()]
    cuts = [round(shot.shape[2] * LEFT) for shot in shots]
    left = [shot[:, :, :cut] for shot, cut in zip(shots, cuts, strict=True)]
    right = [shot[:, :, cut:] for shot, cut in zip(shots, cuts, strict=True)]
    return Dataset(
        name="photos",
        about=f"windows of {len(shots)} photographs, from scikit-learn and scikit-image",
        classes=len(shots),
        train=_windows(left, size, TRAIN, seed=0),
        validation=_windows(right, size, VALIDATION, seed=1),
        suits=Suits(crop=True, flip=True, colour=True),
        recipe=RECIPE,
    )


def _photographs() -> list[Image.Image]:
    found = optional("sklearn.datasets", extra="demo").load_sample_images().images
    return [Image.fromarray(pixels) for pixels in found] + [
        Image.open(path).convert("RGB") for path in _more() if path.is_file()
    ]


def _more() -> list[Path]:
    """Where scikit-image keeps its photographs; it would download those that are missing."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        return []
    return [Path(package.origin).parent / "data" / name for name in MORE]


def _enlarged(photo: Image.Image, size: int) -> Images:
    """u8[3,rows,columns], large enough for windows in both parts."""
    scale = ROOM * size / min(photo.height, photo.width * (1 - LEFT))
    # One size rounds up, so that the right part never lacks a pixel.
    width, height = (int(np.ceil(extent * scale)) + 1 for extent in photo.size)
    pixels: Images = np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC))
    return pixels.transpose(2, 0, 1)


def _windows(shots: list[Images], size: int, count: int, seed: int) -> Part:
    """`count` windows, dealt to the photographs in turn, at places fixed by the seed."""
    raw = draws.bits(2 * count, Purpose.WINDOW, seed=seed).reshape(count, 2)
    labels = (np.arange(count) % len(shots)).astype(np.int32)

    def window(index: int) -> Images:
        shot = shots[labels[index]]
        rows, columns = (extent - size + 1 for extent in shot.shape[1:])
        row = draws.below(raw[index, :1], rows)[0]
        column = draws.below(raw[index, 1:], columns)[0]
        found: Images = shot[:, row : row + size, column : column + size]
        return found

    def read(indices: Indices) -> Images:
        return np.stack([window(int(index)) for index in indices])

    return Part(labels, read)
