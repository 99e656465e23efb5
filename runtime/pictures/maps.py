"""What a layer makes of images: some of its maps, as grey pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.pictures.canvas import GREY, LEAST, TEXT, Canvas, Rgb
from runtime.pictures.tiles import from_black

SIDE, GAP, FIRST, MARGIN, HEAD = 72, 6, 20, 14, 56


@dataclass(frozen=True, eq=False)
class Maps:
    """An image and the layer's maps [maps,h,w] of it."""

    pixels: Rgb
    values: npt.NDArray[np.floating]


def maps(name: str, rows: Sequence[Maps], count: int) -> Canvas:
    """A row for each image, with the first `count` maps; each map has its own scale."""
    total = len(rows[0].values)
    count = min(count, total)
    width = 2 * MARGIN + (1 + count) * (SIDE + GAP) + FIRST
    canvas = Canvas(max(width, LEAST), HEAD + len(rows) * (SIDE + GAP) + MARGIN)
    words = f"{name}: {count} of {total} maps, black to white from least to largest"
    canvas.text(MARGIN, 22, words, size=TEXT + 1, room=canvas.width - MARGIN)
    for index in range(count):
        canvas.text(_left(index + 1), HEAD - 8, str(index), colour=GREY)
    for place, row in enumerate(rows):
        y = HEAD + place * (SIDE + GAP)
        canvas.image(_left(0), y, SIDE, SIDE, row.pixels)
        for index, values in enumerate(row.values[:count], start=1):
            canvas.image(_left(index), y, SIDE, SIDE, from_black(values))
    return canvas


def _left(index: int) -> float:
    return MARGIN + index * (SIDE + GAP) + FIRST * (index > 0)
