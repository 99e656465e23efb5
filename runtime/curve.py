"""The loss curve of a run, as a picture: by matplotlib where it is installed, else an own SVG."""

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ir.command import Error
from ir.optional import optional
from runtime.log import Record

Points = list[tuple[float, float]]

WIDTH, HEIGHT, MARGIN = 720, 360, 50
BLUE, RED = "#4269d0", "#d62728"


def curve(records: Sequence[Record]) -> str:
    """SVG text: the loss of each step in blue, on the left axis; validation accuracy in red."""
    loss = _points(records, "loss")
    accuracy = _points(records, "validation_top1")
    return _drawn(loss, accuracy) if find_spec("matplotlib") else _plain(loss, accuracy)


def write_curve(records: Sequence[Record], path: Path) -> None:
    """Write the picture of a log. Raises Error."""
    try:
        path.write_text(curve(records), "utf-8")
    except OSError as error:
        raise Error(f"{path}: cannot be written: {error.strerror}") from error


def _points(records: Sequence[Record], key: str) -> Points:
    return [(record["step"], record[key]) for record in records if key in record]


def _drawn(loss: Points, accuracy: Points) -> str:
    figure = optional("matplotlib.figure", extra="plot").Figure((9, 4.5), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    left.plot(*_columns(loss), color=BLUE, linewidth=1)
    right.plot(*_columns(accuracy), color=RED, marker="o")
    left.set(xlabel="step", ylim=(0, None))
    left.set_ylabel("training loss", color=BLUE)
    right.set(ylim=(0, 1))
    right.set_ylabel("validation accuracy", color=RED)
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _plain(loss: Points, accuracy: Points) -> str:
    steps = max((x for x, _ in loss + accuracy), default=1.0)
    top = max((y for _, y in loss), default=1.0) or 1.0
    right, bottom = WIDTH - MARGIN, HEIGHT - MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<path d="M{MARGIN},{MARGIN}V{bottom}H{right}V{MARGIN}" fill="none" stroke="black"/>',
            _line(loss, steps, top, BLUE),
            _line(accuracy, steps, 1.0, RED),
            _label(MARGIN, MARGIN - 10, f"training loss, 0 to {top:.3g}", BLUE, "start"),
            _label(right, MARGIN - 10, "validation accuracy, 0 to 100 %", RED, "end"),
            _label(MARGIN, bottom + 20, "0", "black", "middle"),
            _label(right, bottom + 20, f"step {steps:.0f}", "black", "end"),
            "</svg>\n",
        ]
    )


def _line(points: Points, steps: float, top: float, colour: str) -> str:
    places = (
        f"{MARGIN + x / steps * (WIDTH - 2 * MARGIN):.1f},"
        f"{HEIGHT - MARGIN - y / top * (HEIGHT - 2 * MARGIN):.1f}"
        for x, y in points
    )
    return f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}"/>'


def _label(x: int, y: int, text: str, colour: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}">{text}</text>'
