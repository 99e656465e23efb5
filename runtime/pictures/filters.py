"""The kernels of a convolution, those of each device side by side (figure 3 of the paper)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.pictures.canvas import GREY, LEAST, Canvas
from runtime.pictures.tiles import around_grey, columns_for

SIDE, GAP, MARGIN, NUMBERS, HEAD = 36, 3, 14, 24, 58

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Panel:
    """The words above some kernels, the number of the first, and weights [maps,channels,h,w]."""

    words: str
    first: int
    kernels: Weights


def filters(name: str, panels: Sequence[Panel], channel: int | None) -> Canvas:
    """All kernels have one scale, in which 0 is grey.

    Without a `channel` the three channels are colours.
    """
    count = max(len(panel.kernels) for panel in panels)
    columns = columns_for(count)
    wide = NUMBERS + columns * (SIDE + GAP) + MARGIN
    high = HEAD + -(-count // columns) * (SIDE + GAP) + MARGIN
    canvas = Canvas(max(MARGIN + wide * len(panels), LEAST), high)
    most = max(float(np.abs(panel.kernels).max()) for panel in panels)
    chosen = "" if channel is None else f", channel {channel}"
    canvas.text(MARGIN, 22, f"{name}{chosen}: from -{most:.3g} to {most:.3g}", size=14)
    for place, panel in enumerate(panels):
        x = MARGIN + place * wide
        canvas.text(x, 46, panel.words, colour=GREY, room=wide)
        _kernels(canvas, x + NUMBERS, panel, columns, most, channel)
    return canvas


def _kernels(
    canvas: Canvas, x: float, panel: Panel, columns: int, most: float, channel: int | None
) -> None:
    for index, kernel in enumerate(panel.kernels):
        row, column = divmod(index, columns)
        y = HEAD + row * (SIDE + GAP)
        if column == 0:
            number = str(panel.first + index)
            canvas.text(x - 5, y + SIDE / 2 + 3, number, size=9, colour=GREY, anchor="end")
        shown = kernel if channel is None else kernel[channel : channel + 1]
        canvas.image(x + column * (SIDE + GAP), y, SIDE, SIDE, around_grey(shown, most))
