"""Images, and those whose features are nearest (figure 4 of the paper, right)."""

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.pictures.canvas import BLACK, GREY, LEAST, RED, Canvas, Rgb, label

SIDE, GAP, FIRST, WORDS, MARGIN, HEAD = 84, 8, 24, 34, 14, 40


@dataclass(frozen=True, eq=False)
class Neighbour:
    """An image, its class, and how far its features are from those of the row's first."""

    pixels: Rgb
    label: int
    distance: float


Row = tuple[Neighbour, Sequence[Neighbour]]


def neighbours(rows: Sequence[Row], names: Sequence[str]) -> Canvas:
    """A row for each image, the nearest first; classes other than the image's are red."""
    count = max(len(near) for _, near in rows)
    width = 2 * MARGIN + (1 + count) * (SIDE + GAP) + FIRST
    canvas = Canvas(max(width, LEAST), HEAD + len(rows) * (SIDE + WORDS + GAP) + MARGIN)
    canvas.text(MARGIN, 22, "image")
    canvas.text(_left(1), 22, "nearest training images; red: another class")
    for place, (first, near) in enumerate(rows):
        y = HEAD + place * (SIDE + WORDS + GAP)
        _cell(canvas, _left(0), y, first, names[first.label], BLACK)
        for index, each in enumerate(near, start=1):
            colour = GREY if each.label == first.label else RED
            _cell(canvas, _left(index), y, each, names[each.label], colour)
            away = f"{each.distance:.3g} away"
            canvas.text(_left(index), y + SIDE + 27, away, size=11, colour=GREY)
    return canvas


def _left(index: int) -> float:
    return MARGIN + index * (SIDE + GAP) + FIRST * (index > 0)


def _cell(canvas: Canvas, x: float, y: float, each: Neighbour, name: str, colour: str) -> None:
    canvas.image(x, y, SIDE, SIDE, each.pixels)
    canvas.text(x, y + SIDE + 13, label(name), size=11, colour=colour, room=SIDE)
