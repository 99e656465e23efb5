"""Real pictures for sources: those that scikit-learn carries, and scikit-image's where it is."""

from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

MORE = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


@cache
def photographs() -> list[Image.Image]:
    package = find_spec("skimage")
    folder = Path(package.origin).parent / "data" if package and package.origin else Path()
    found = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    return found + [
        Image.open(folder / name).convert("RGB") for name in MORE if (folder / name).is_file()
    ]


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
