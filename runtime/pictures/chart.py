"""Curves over axes with numbers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runtime.pictures.canvas import BLACK, GREY, PALE, TEXT, Canvas

Points = Sequence[tuple[float, float]]

LEFT, RIGHT, ABOVE, BELOW = 60, 32, 30, 26  # around the axes
DOT = 4


@dataclass(frozen=True)
class Curve:
    """A curve; `marked` draws it thicker, with its points."""

    points: Points
    colour: str
    marked: bool = False


@dataclass(frozen=True)
class Panel:
    """Where a chart stands, its title, and how its values are written."""

    x: float
    y: float
    width: float
    height: float
    title: str
    percent: bool = False


def chart(canvas: Canvas, panel: Panel, curves: Sequence[Curve], along: str) -> None:
    """Draw curves from the origin on; `along` says what x counts. No curve leaves empty axes."""
    points = [point for curve in curves for point in curve.points if math.isfinite(point[1])]
    last, top = _largest(x for x, _ in points), _largest(y for _, y in points)
    x0, y0 = panel.x + LEFT, panel.y + panel.height - BELOW
    wide, high = panel.width - LEFT - RIGHT, panel.height - ABOVE - BELOW
    canvas.text(x0, panel.y + ABOVE - 12, panel.title, size=TEXT + 1)
    for value in ticks(top):
        y = y0 - value / top * high
        canvas.line([(x0, y), (x0 + wide, y)], PALE)
        shown = f"{value:.3g}" if not panel.percent else f"{100 * value:.3g} %"
        canvas.text(x0 - 6, y + 4, shown, colour=GREY, anchor="end")
    for value in ticks(last):
        shown = f"{along} {value:g}" if value == ticks(last)[-1] else f"{value:g}"
        canvas.text(x0 + value / last * wide, y0 + 17, shown, colour=GREY, anchor="middle")
    canvas.line([(x0, y0 - high), (x0, y0), (x0 + wide, y0)], BLACK)
    for curve in curves:
        places = [
            (x0 + x / last * wide, y0 - y / top * high) for x, y in curve.points if math.isfinite(y)
        ]
        _draw(canvas, curve, places)


def _largest(values: Iterable[float]) -> float:
    """Where an axis from 0 on ends; at 1 where it would have no length."""
    found = max(values, default=0.0)
    return found if found > 0 else 1.0


def _draw(canvas: Canvas, curve: Curve, places: Points) -> None:
    if len(places) > 1:
        canvas.line(places, curve.colour, 2 if curve.marked else 1)
    if curve.marked:
        for x, y in places:
            canvas.rectangle(x - DOT / 2, y - DOT / 2, DOT, DOT, curve.colour)


def ticks(top: float) -> list[float]:
    """Three to seven round numbers from 0 to `top`, which is more than 0."""
    rough = top / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * by for by in (1, 2, 5, 10) if power * by >= rough * (1 - 1e-9))
    return [step * index for index in range(int(top / step + 1e-9) + 1)]
