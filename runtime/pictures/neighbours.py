"""Images, and those whose features are nearest (figure 4 of the paper, right)."""

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.pictures.canvas import BLACK, GREY, LEAST, RED, Canvas, Rgb

SIDE, GAP, FIRST, WORDS, MARGIN, HEAD = 84, 8, 24, 18, 14, 40


@dataclass(frozen=True, eq=False)
class Neighbour:
    """An image, its class, and how far its features are from those of the row's first."""

    pixels: Rgb
    label: int
    distance: float


Row = tuple[Neighbour, Sequence[Neighbour]]


def neighbours(rows: Sequence[Row], names: Sequence[str]) -> Canvas:
    """A row for each image, the nearest first; classes that are not the first's are red."""
    count = max(len(near) for _, near in rows)
    width = 2 * MARGIN + (1 + count) * (SIDE + GAP) + FIRST
    canvas = Canvas(max(width, LEAST), HEAD + len(rows) * (SIDE + WORDS + GAP) + MARGIN)
    canvas.text(MARGIN, 22, "image")
    canvas.text(_left(1), 22, "nearest training images, with class and distance")
    for place, (first, near) in enumerate(rows):
        y = HEAD + place * (SIDE + WORDS + GAP)
        _cell(canvas, _left(0), y, first, names[first.label], BLACK)
        for index, each in enumerate(near, start=1):
            words = f"{names[each.label]}  {each.distance:.3g}"
            _cell(canvas, _left(index), y, each, words, GREY if each.label == first.label else RED)
    return canvas


def _left(index: int) -> float:
    return MARGIN + index * (SIDE + GAP) + FIRST * (index > 0)


def _cell(canvas: Canvas, x: float, y: float, each: Neighbour, words: str, colour: str) -> None:
    canvas.image(x, y, SIDE, SIDE, each.pixels)
    canvas.text(x, y + SIDE + 13, words, size=11, colour=colour, room=SIDE + GAP)
