"""What a picture is made of. Lengths are in pixels, y grows downwards, colours are "#rrggbb"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ir.plan import one_line

Rgb = npt.NDArray[np.uint8]
Anchor = Literal["start", "middle", "end"]

BLACK, GREY, PALE, WHITE = "#000000", "#777777", "#dddddd", "#ffffff"
BLUE, RED = "#4269d0", "#d62728"
COLOURS = (BLUE, "#e08a1e", "#3a9a5b", RED, "#9467bd", "#8c6d4f", "#d468a8", "#555555")

TEXT = 12
LEAST = 460
"""The least width of a page with a title."""
_WIDTH = 0.6  # of a letter, in sizes of the font, on average
_SYNSET = re.compile(r"^n\d{8} (?=.)")


@dataclass(frozen=True)
class Rectangle:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: str


@dataclass(frozen=True)
class Line:
    """Straight lines through points."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float


@dataclass(frozen=True)
class Text:
    """Words whose baseline is at y; x is where they start, end, or have their middle."""

    x: float
    y: float
    words: str
    size: float
    colour: str
    anchor: Anchor


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels u8[rows,columns,3], each one a rectangle, enlarged to a size."""

    x: float
    y: float
    width: float
    height: float
    pixels: Rgb


Shape = Rectangle | Line | Text | Image


@dataclass
class Canvas:
    """A white page; later shapes cover earlier ones."""

    width: float
    height: float
    shapes: list[Shape] = field(default_factory=list)

    def rectangle(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """Fill a rectangle."""
        self.shapes.append(Rectangle(x, y, width, height, fill))

    def line(
        self, points: Sequence[tuple[float, float]], colour: str = BLACK, width: float = 1
    ) -> None:
        """Connect points."""
        self.shapes.append(Line(tuple(points), colour, width))

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = TEXT,
        colour: str = BLACK,
        anchor: Anchor = "start",
        room: float | None = None,
    ) -> None:
        """Write words, on one line and cut short where they do not fit into `room` pixels."""
        shown = one_line(words) if room is None else shortened(one_line(words), room, size)
        self.shapes.append(Text(x, y, shown, size, colour, anchor))

    def image(self, x: float, y: float, width: float, height: float, pixels: Rgb) -> None:
        """Show pixels u8[rows,columns,3], in a frame that tells white ones from the page."""
        self.rectangle(x - 1, y - 1, width + 2, height + 2, PALE)
        self.shapes.append(Image(x, y, width, height, pixels))


def label(name: str) -> str:
    """What a class is called, without the number of its synset, for which there is no room."""
    return _SYNSET.sub("", name)


def shortened(words: str, room: float, size: float = TEXT) -> str:
    """The words, or their beginning, in about so many pixels."""
    letters = max(1, int(room / (_WIDTH * size)))
    return words if len(words) <= letters else f"{words[: letters - 1]}…"
