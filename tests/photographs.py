"""Real pictures for sources: those that scikit-learn carries, and scikit-image's where it is."""

from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PICTURES = {
    "sklearn/datasets/images": ("china.jpg", "flower.jpg"),
    "skimage/data": ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"),
}
"""By the folder of their package, which is not imported: that takes seconds."""


@cache
def photographs() -> list[Image.Image]:
    paths = (_folder(place) / name for place, names in PICTURES.items() for name in names)
    return [Image.open(path).convert("RGB") for path in paths if path.is_file()]


def _folder(place: str) -> Path:
    package, _, within = place.partition("/")
    found = find_spec(package)
    return Path(found.origin).parent / within if found and found.origin else Path()


def view(number: int, width: int = 160, height: int = 120) -> Image.Image:
    """A piece of a photograph, no two alike."""
    draw = np.random.default_rng(number)
    photo = photographs()[number % len(photographs())]
    left = int(draw.integers(0, photo.width - width))
    upper = int(draw.integers(0, photo.height - height))
    return photo.crop((left, upper, left + width, upper + height))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def source(folder: Path, count: int, classes: tuple[str, ...] = ("left", "right")) -> Path:
    """A folder of class folders with `count` small JPEGs."""
    for number in range(count):
        place = folder / classes[number % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:04}.jpg").write_bytes(encoded(view(number, 48, 36), quality=90))
    return folder
