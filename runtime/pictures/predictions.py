"""Images with the likeliest classes as bars, the true one marked (figure 4 of the paper, left)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.pictures.canvas import GREY, LEAST, RED, Canvas, Rgb, label

SIDE, WIDTH, BAR, MARGIN, HEAD, COLUMNS = 150, 190, 18, 16, 40, 4


@dataclass(frozen=True, eq=False)
class Prediction:
    """An image, the probabilities of all classes, and its class where that is known."""

    pixels: Rgb
    probabilities: npt.NDArray[np.floating]
    label: int | None


def predictions(found: Sequence[Prediction], names: Sequence[str], top: int = 5) -> Canvas:
    """A card for each image. The bar of the true class is red."""
    columns, shown = min(COLUMNS, len(found)), min(top, len(names))
    wide, high = WIDTH + MARGIN, SIDE + 24 + shown * (BAR + 4) + MARGIN
    rows = -(-len(found) // columns)
    canvas = Canvas(max(MARGIN + columns * wide, LEAST), HEAD + rows * high)
    canvas.text(
        MARGIN, 22, "likeliest classes with their probabilities; red: the true one", colour=GREY
    )
    for index, one in enumerate(found):
        row, column = divmod(index, columns)
        _card(canvas, MARGIN + column * wide, HEAD + row * high, one, names, shown)
    return canvas


def _card(
    canvas: Canvas, x: float, y: float, one: Prediction, names: Sequence[str], shown: int
) -> None:
    canvas.image(x + (WIDTH - SIDE) / 2, y, SIDE, SIDE, one.pixels)
    if one.label is not None:
        words = label(names[one.label])
        canvas.text(x + WIDTH / 2, y + SIDE + 16, words, anchor="middle", colour=RED, room=WIDTH)
    for place, likely in enumerate(np.argsort(-one.probabilities, kind="stable")[:shown]):
        share, top = float(one.probabilities[likely]), y + SIDE + 24 + place * (BAR + 4)
        canvas.rectangle(x, top, WIDTH, BAR, "#f2f2f2")
        canvas.rectangle(x, top, WIDTH * share, BAR, _lighter(likely == one.label))
        canvas.text(x + 4, top + BAR - 5, label(names[likely]), room=WIDTH - 50)
        canvas.text(x + WIDTH - 3, top + BAR - 5, f"{share:.0%}", anchor="end")


def _lighter(true: bool) -> str:
    return "#f0a3a4" if true else "#b5c4ee"
