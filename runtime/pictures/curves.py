"""Loss and errors over the steps of one run or several."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from runtime.log import Record
from runtime.pictures.canvas import COLOURS, GREY, TEXT, Canvas
from runtime.pictures.chart import Curve, Panel, chart

WIDTH, HEIGHT, MARGIN = 760, 230, 12
PLACES = 300  # of a curve; so many means stand for what would blacken the page
PANELS = (
    ("loss", "loss, nats", False),
    ("top1", "top-1 error", True),
    ("top5", "top-5 error", True),
)

Runs = Mapping[str, Sequence[Record]]


def curves(runs: Runs) -> Canvas:
    """Training as thin lines, validation as marked ones; a colour for each run."""
    names = list(runs)
    head = MARGIN + 20 * (1 + len(names) * (len(names) > 1))
    canvas = Canvas(WIDTH, head + HEIGHT * len(PANELS) + MARGIN)
    _legend(canvas, names)
    for index, (key, title, percent) in enumerate(PANELS):
        panel = Panel(0, head + index * HEIGHT, WIDTH, HEIGHT, title, percent)
        lines = [curve for place, name in enumerate(names) for curve in _of(runs[name], key, place)]
        chart(canvas, panel, lines, "step")
    return canvas


def _legend(canvas: Canvas, names: Sequence[str]) -> None:
    words = "thin: training, means over steps; marked: validation"
    canvas.text(60, MARGIN + TEXT, words, colour=GREY)
    if len(names) > 1:
        for index, name in enumerate(names):
            y = MARGIN + 20 * (index + 1) + TEXT
            canvas.rectangle(60, y - 8, 16, 4, _colour(index))
            canvas.text(84, y, name, room=WIDTH - 100)


def _of(records: Sequence[Record], key: str, place: int) -> Iterator[Curve]:
    training = [(r["step"], _value(r[key], key)) for r in records if key in r]
    validated = f"validation_{key}"
    validation = [(r["step"], _value(r[validated], key)) for r in records if validated in r]
    yield Curve(thinned(training), _colour(place))
    yield Curve(validation, _colour(place), marked=True)


def _value(value: float, key: str) -> float:
    # An accuracy is a mean of single precision, and may miss 1 by its rounding.
    return value if key == "loss" else 1 - round(value, 6)


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `PLACES` points, each the mean of as many neighbours."""
    every = -(-len(points) // PLACES)
    groups = (points[first : first + every] for first in range(0, len(points), every or 1))
    means = (np.mean(group, axis=0) for group in groups)
    return [(float(x), float(y)) for x, y in means]


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
