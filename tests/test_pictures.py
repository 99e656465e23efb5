"""Pictures: everything lies on the page, nothing covers what it should not, both formats agree."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as pil

from ir.command import Error
from runtime.log import Record
from runtime.nearest import nearest
from runtime.pictures.canvas import Canvas, Image, Line, Rectangle, Text, label, shortened
from runtime.pictures.chart import ticks
from runtime.pictures.curves import PLACES, curves, thinned
from runtime.pictures.file import write
from runtime.pictures.filters import Panel, filters
from runtime.pictures.maps import Maps, maps
from runtime.pictures.neighbours import Neighbour, neighbours
from runtime.pictures.png import SCALE, png
from runtime.pictures.predictions import Prediction, predictions
from runtime.pictures.svg import svg
from runtime.pictures.tiles import around_grey, columns_for, from_black
from tests.counts import cases

RANDOM = np.random.default_rng(0)
NAMES = ["n01440764 tench, Tinca tinca", "b", "a <c> & d", "four", "a name that is too long " * 4]


def pixels(side: int = 5) -> np.ndarray:
    return RANDOM.integers(0, 256, (side, side, 3)).astype(np.uint8)


def some_filters(counts: Sequence[int], channel: int | None = None) -> Canvas:
    starts = np.cumsum([0, *counts])
    return filters(
        "first.weight",
        [
            Panel(
                f"device {i}", int(starts[i]), RANDOM.normal(size=(n, 3, 5, 5)).astype(np.float32)
            )
            for i, n in enumerate(counts)
        ],
        channel,
    )


def some_predictions(count: int) -> Canvas:
    shares = RANDOM.dirichlet(np.ones(len(NAMES)), count)
    return predictions(
        [Prediction(pixels(), p, i % len(NAMES)) for i, p in enumerate(shares)], NAMES
    )


def some_neighbours(rows: int, near: int) -> Canvas:
    def one(label: int) -> Neighbour:
        return Neighbour(pixels(), label % len(NAMES), 1234.5678)

    return neighbours([(one(i), [one(i + j) for j in range(near)]) for i in range(rows)], NAMES)


def some_maps(rows: int, total: int, count: int) -> Canvas:
    return maps("layer", [Maps(pixels(), RANDOM.normal(size=(total, 4, 6)))] * rows, count)


def log(steps: int, every: int = 10) -> list[Record]:
    records: list[Record] = []
    for step in range(1, steps + 1):
        records.append({"step": step, "loss": 3 / step, "top1": 0.5, "top5": 0.75})
        if step % every == 0:
            records.append(
                {"step": step} | {f"validation_{k}": 0.25 for k in ("loss", "top1", "top5")}
            )
    return records


def some_curves(lengths: Sequence[int]) -> Canvas:
    return curves({f"run {i}": log(steps) for i, steps in enumerate(lengths)})


SIZES = st.integers(1, 40)
PICTURES = st.one_of(
    st.builds(some_filters, st.lists(SIZES, min_size=1, max_size=3), st.sampled_from((None, 2))),
    st.builds(some_predictions, st.integers(1, 9)),
    st.builds(some_neighbours, st.integers(1, 6), st.integers(1, 8)),
    st.builds(some_maps, st.integers(1, 5), SIZES, SIZES),
    st.builds(some_curves, st.lists(st.integers(0, 50), min_size=1, max_size=10)),
)


# ------------------------------------------------------------------------------- laws


@cases(full=200, sample=30)
@given(PICTURES)
def test_everything_lies_on_the_page(canvas: Canvas) -> None:
    for shape in canvas.shapes:
        left, upper, right, lower = extent(shape)
        assert left >= 0, shape
        assert upper >= 0, shape
        assert right <= canvas.width, shape
        assert lower <= canvas.height, shape


def extent(shape: object) -> tuple[float, float, float, float]:
    """Left, upper, right and lower end; of a text by the font of the PNG."""
    match shape:
        case Rectangle() | Image():
            return shape.x, shape.y, shape.x + shape.width, shape.y + shape.height
        case Line():
            xs, ys = zip(*shape.points, strict=True)
            return min(xs), min(ys), max(xs), max(ys)
        case Text():
            width = 0.5 * shape.size * len(shape.words)
            left = shape.x - width * {"start": 0, "middle": 0.5, "end": 1}[shape.anchor]
            return left, shape.y - shape.size, left + width, shape.y
    raise TypeError(shape)


@cases(full=100, sample=20)
@given(PICTURES)
def test_no_image_covers_another(canvas: Canvas) -> None:
    boxes = [extent(shape) for shape in canvas.shapes if isinstance(shape, Image)]
    for a, b in combinations(boxes, 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, (a, b)


@cases(full=60, sample=10)
@given(PICTURES)
def test_both_formats_show_all(canvas: Canvas) -> None:
    root = ElementTree.fromstring(svg(canvas))
    space = "{http://www.w3.org/2000/svg}"
    words = [shape.words for shape in canvas.shapes if isinstance(shape, Text)]
    assert [element.text or "" for element in root.iter(f"{space}text")] == words
    images = [shape for shape in canvas.shapes if isinstance(shape, Image)]
    assert len(list(root.iter(f"{space}image"))) == len(images)
    page = png(canvas)
    assert page.size == (round(canvas.width * SCALE), round(canvas.height * SCALE))
    for shape in images:
        x, y = round((shape.x + 0.5) * SCALE), round((shape.y + 0.5) * SCALE)
        assert page.getpixel((x, y)) == tuple(shape.pixels[0, 0].tolist())


@cases(full=100, sample=20)
@given(st.lists(SIZES, min_size=1, max_size=3))
def test_every_kernel_is_shown_once(counts: list[int]) -> None:
    shapes = some_filters(counts).shapes
    assert sum(isinstance(shape, Image) for shape in shapes) == sum(counts)
    numbers = [shape.words for shape in shapes if isinstance(shape, Text)]
    for first in np.cumsum([0, *counts[:-1]]):
        assert str(first) in numbers


# ------------------------------------------------------------------------------- parts


@cases(full=300, sample=50)
@given(st.floats(1e-6, 1e9))
def test_ticks_are_few_and_within(top: float) -> None:
    found = ticks(top)
    assert 3 <= len(found) <= 7
    assert found[0] == 0
    assert found[-1] <= top * (1 + 1e-6)
    assert np.allclose(np.diff(found), found[1])


@cases(full=100, sample=20)
@given(st.lists(st.floats(0, 10), max_size=2000))
def test_thinning_keeps_the_sum(values: list[float]) -> None:
    found = thinned(list(enumerate(values)))
    assert len(found) <= PLACES
    every = -(-len(values) // PLACES)
    last = len(values) - every * (len(found) - 1)
    weights = [every] * (len(found) - 1) + [last] if found else []
    assert np.isclose(sum(w * y for w, (_, y) in zip(weights, found, strict=True)), sum(values))


def test_shades_say_what_the_numbers_are() -> None:
    shades = around_grey(np.array([[[-2.0, 0.0, 2.0]]]), 2.0)
    assert shades.shape == (1, 3, 3)
    assert shades[0, :, 0].tolist() == [0, 128, 255]
    assert from_black(np.array([[3.0, 5.0, 4.0]]))[0, :, 0].tolist() == [0, 255, 128]
    assert not np.ptp(around_grey(np.zeros((3, 2, 2)), 0.0))
    assert not np.ptp(from_black(np.ones((2, 2))))


def test_names_are_shown_without_the_numbers_of_their_synsets() -> None:
    assert label("n01440764 tench, Tinca tinca") == "tench, Tinca tinca"
    for name in ("n01440764", "n01440764 ", "7", "no 01440764 x"):
        assert label(name) == name


@cases(full=100, sample=20)
@given(SIZES)
def test_tiles_leave_less_than_a_row_empty(count: int) -> None:
    columns = columns_for(count)
    rows = -(-count // columns)
    assert rows * columns - count < columns
    assert rows <= columns or count < 3


@pytest.mark.parametrize("accuracy", [1.0, np.nextafter(np.float32(1), 2), 1 - 2**-24])
def test_a_run_without_errors_has_axes(accuracy: float) -> None:
    """Means of single precision may miss 1 by their rounding, to either side."""
    record: Record = {"step": 1, "loss": 0.0, "top1": float(accuracy), "top5": float(accuracy)}
    words = [shape.words for shape in curves({"": [record]}).shapes if isinstance(shape, Text)]
    assert words.count("100 %") == 2
    assert "1" in words


@cases(full=300, sample=40)
@given(st.text(st.characters() | st.characters(categories=["Cs", "Cc"]), min_size=1))
def test_any_words_can_be_written(words: str) -> None:
    canvas = Canvas(400, 40)
    canvas.text(0, 20, words)
    (text,) = ElementTree.fromstring(svg(canvas).encode())[1:]
    assert text.text == "".join(c if c.isprintable() else repr(c)[1:-1] for c in words)
    png(canvas)


def test_words_that_do_not_fit_are_cut() -> None:
    assert shortened("tench", 1000) == "tench"
    cut = shortened("tench, Tinca tinca", 60)
    assert cut.endswith("…")
    assert len(cut) < 18


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[int], int]:
    rows, table, features = (
        draw(st.integers(1, 4)),
        draw(st.integers(1, 20)),
        draw(st.integers(1, 5)),
    )
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    cuts = sorted(draw(st.lists(st.integers(0, table), max_size=4)))
    made = (random.integers(-3, 4, (n, features)).astype(np.float64) for n in (rows, table))
    return *made, cuts, draw(st.integers(1, 8))  # type: ignore[return-value]


@cases(full=300, sample=50)
@given(tables())
def test_the_nearest_are_those_of_all_pairs(
    case: tuple[np.ndarray, np.ndarray, list[int], int],
) -> None:
    rows, table, cuts, count = case
    places, distances = nearest(rows, np.split(table, cuts), count)
    every = np.linalg.norm(rows[:, None] - table, axis=2)
    best = np.argsort(every, axis=1, kind="stable")[:, :count]
    assert np.allclose(distances, np.take_along_axis(every, best, axis=1))
    assert (places == best).all()


def test_a_file_s_name_decides_its_format(tmp_path: Path) -> None:
    canvas = some_maps(2, 3, 3)
    write(canvas, tmp_path / "deep" / "a.png")
    write(canvas, tmp_path / "a.svg")
    with pil.open(tmp_path / "deep" / "a.png") as image:
        assert image.format == "PNG"
    assert (tmp_path / "a.svg").read_text("utf-8").startswith("<svg")
    with pytest.raises(Error, match=r"a\.jpg: expected a name that ends in \.svg or \.png"):
        write(canvas, tmp_path / "a.jpg")
