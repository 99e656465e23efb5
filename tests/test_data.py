"""Data sets and batches: fixed parts, and draws that depend on seed, epoch and image alone."""

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir.command import Error
from ir.plan import Feed, Layout, Tensor
from runtime import data
from runtime.data import draws
from runtime.data.batches import Batches
from runtime.data.dataset import Dataset, Part, Suits
from runtime.data.draws import Purpose
from runtime.data.prefetch import prefetched
from runtime.data.statistics import colour_axes, mean_image
from runtime.recipe import Augment, Recipe
from tests.counts import cases

SIZE, CROP = 24, 21
SHAPES = {
    "images": ("u8", (3, SIZE, SIZE), 0),
    "labels": ("i32", (), 10),
    "weights": ("f32", (), 0),
    "offset": ("i32", (2,), SIZE - CROP + 1),
    "flip": ("i32", (), 2),
    "shift": ("f32", (3,), 0),
}


def feed(name: str, dtype: str, shape: tuple[int, ...], below: int = 0) -> Feed:
    layout = Layout(shape=shape, padded=shape, splits=(), order=tuple(range(len(shape))))
    tensor = Tensor(name=name, device=0, offset=0, bytes=64, dtype=dtype, layout=layout)  # type: ignore[arg-type]
    return Feed(tensor=tensor, logical=name, below=below)


def feeds(batch: int, mean: int = SIZE) -> list[Feed]:
    each = [feed(n, dtype, (batch, *shape), b) for n, (dtype, shape, b) in SHAPES.items()]
    return [*each, feed("mean", "f32", (3, mean, mean)), feed("gain", "f32", ())]


def noise(count: int, suits: Suits) -> Dataset:
    """Images whose first pixel is their index."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, SIZE, SIZE)).astype(np.uint8)
    pixels[:, :, 0, 0] = np.arange(count)[:, None]
    part = Part((np.arange(count) % 10).astype(np.int32), lambda indices: pixels[indices])
    return Dataset("noise", "noise", 10, part, part, suits, Recipe(rate=0.1, epochs=1))


AUGMENT = Augment()
ALL = noise(50, Suits(crop=True, flip=True, colour=True))


def presented(batches: Batches, epochs: int) -> dict[tuple[int, int], tuple[object, ...]]:
    """By epoch and image: what is fed for it."""
    found: dict[tuple[int, int], tuple[object, ...]] = {}
    for index in range(epochs * batches.count):
        values = batches.batch(index)
        for i in np.flatnonzero(values["weights"]):
            key = index // batches.count, int(values["images"][i, 0, 0, 0])
            assert key not in found
            found[key] = tuple(values[n][i].tolist() for n in ("labels", "offset", "flip", "shift"))
    return found


# ---------------------------------------------------------------------------- draws


def test_epochs_seeds_and_images_draw_differently() -> None:
    found = [
        presented(Batches(ALL, ALL.train, feeds(50), seed=seed, augment=AUGMENT), 2)
        for seed in (1, 2)
    ]
    shifts = [entry[3] for run in found for entry in run.values()]
    assert len({repr(shift) for shift in shifts}) == 200


@cases(full=500, sample=50)
@given(seed=st.integers(0, 2**64 - 1), limit=st.integers(1, 2**31))
def test_bounded_draws_stay_within_bounds(seed: int, limit: int) -> None:
    drawn = draws.below(draws.bits(50, Purpose.AUGMENT, seed=seed), limit)
    assert drawn.min() >= 0
    assert drawn.max() < limit


def test_normal_draws_are_normal() -> None:
    drawn = draws.normal(draws.bits(40_000, Purpose.AUGMENT, seed=3))
    assert abs(drawn.mean()) < 0.03
    assert abs(drawn.std() - 1) < 0.03


# ---------------------------------------------------------------------------- batches


def test_a_short_last_batch_is_filled_with_weight_0() -> None:
    last = Batches(ALL, ALL.train, feeds(16), seed=0).batch(3)
    assert last["weights"].tolist() == [1] * 2 + [0] * 14
    assert all(len(value) == 16 for name, value in last.items() if name != "gain")


@cases(full=100, sample=10)
@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 60), reshuffle=st.booleans())
def test_epochs_share_an_order_only_if_asked_to_and_draws_never(
    seed: int, batch: int, reshuffle: bool
) -> None:
    batches = Batches(ALL, ALL.train, feeds(batch), seed=seed, augment=AUGMENT, reshuffle=reshuffle)
    found = presented(batches, 2)
    first, second = ([image for e, image in found if e == epoch] for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(50))
    assert (first == second) is not reshuffle
    assert any(found[0, image] != found[1, image] for image in first)


@pytest.mark.parametrize("seed", [None, 5])
def test_without_augmentation_crops_are_central_and_nothing_else_changes(seed: int | None) -> None:
    batches = Batches(ALL, ALL.train, feeds(50), seed=seed)
    values = batches.batch(0)
    assert np.all(values["offset"] == (SIZE - CROP) // 2)
    assert not values["flip"].any()
    assert not values["shift"].any()
    assert values["gain"] == 1
    indices = values["images"][:, 0, 0, 0].tolist()
    assert sorted(indices) == list(range(50))
    assert (indices == sorted(indices)) is (seed is None)


def test_the_data_set_says_which_augmentation_suits_it() -> None:
    upright = noise(50, Suits(crop=True, flip=False))
    values = Batches(upright, upright.train, feeds(50), seed=1, augment=AUGMENT).batch(0)
    assert not values["flip"].any()
    assert not values["shift"].any()
    assert len(np.unique(values["offset"])) == SIZE - CROP + 1


def test_only_the_feeds_of_the_program_are_made() -> None:
    some = [f for f in feeds(8) if f.logical in ("images", "labels")]
    batches = Batches(ALL, ALL.train, some, seed=1, augment=AUGMENT)
    assert set(batches.batch(0)) == {"images", "labels"}
    assert not batches.fixed


def test_a_smaller_mean_is_the_middle_of_the_mean_image() -> None:
    whole, middle = (
        Batches(ALL, ALL.train, feeds(8, mean=side)).fixed["mean"] for side in (SIZE, CROP)
    )
    start = (SIZE - CROP) // 2
    assert np.array_equal(middle, whole[:, start : start + CROP, start : start + CROP])


@pytest.mark.parametrize(
    ("given_feeds", "complaint"),
    [
        ([feed("x", "u8", (8, 3, 9, 9))], "no feed 'images'; it has x"),
        ([feed("images", "u8", (8, 3, 9, 8))], r"u8\[8, 3, 9, 8\]; expected u8\[n,3,size,size\]"),
        ([feed("images", "u8", (8, 3, 9, 9)), feed("labels", "i32", (8,), 5)], "tells 5 apart"),
    ],
)
def test_feeds_that_do_not_fit_are_refused(given_feeds: list[Feed], complaint: str) -> None:
    with pytest.raises(Error, match=complaint):
        Batches(ALL, ALL.train, given_feeds)


# ---------------------------------------------------------------------------- statistics


def test_statistics_are_those_of_the_pixels() -> None:
    pixels = ALL.train.read(np.arange(50)).astype(float)
    np.testing.assert_allclose(mean_image(ALL.train), pixels.mean(axis=0), rtol=1e-6)
    axes = colour_axes(ALL.train)
    colours = pixels[:, :, ::8, ::8].transpose(1, 0, 2, 3).reshape(3, -1)
    np.testing.assert_allclose(axes @ axes.T, np.cov(colours), rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------------- data sets


@pytest.mark.parametrize("name", data.DATASETS)
def test_parts_are_fixed_and_share_no_image(name: str) -> None:
    one, two = data.load(name, 32), data.load(name, 32)
    parts = [np.asarray(part.read(np.arange(len(part)))) for part in (one.train, one.validation)]
    again = two.train.read(np.arange(len(two.train)))
    assert np.array_equal(parts[0], again)
    assert parts[0].shape == (len(one.train), 3, 32, 32)
    assert parts[0].dtype == np.uint8
    train, validation = ({image.tobytes() for image in part} for part in parts)
    assert not train & validation
    for part in (one.train, one.validation):
        assert set(part.labels.tolist()) == set(range(one.classes))


@pytest.mark.parametrize("size", [1, 7, 64, 300])
@pytest.mark.parametrize("name", data.DATASETS)
def test_images_have_the_size_that_the_plan_asks_for(name: str, size: int) -> None:
    part = data.load(name, size).validation
    assert part.read(np.array([3, 1])).shape == (2, 3, size, size)


def test_digits_are_whole_in_the_middle_crop() -> None:
    images = data.load("digits", 64).train.read(np.arange(100))
    assert not images[:, :, :4].any()
    assert not images[:, :, :, -4:].any()
    assert images.max() == 255


def test_an_unknown_data_set_is_refused_with_those_there_are() -> None:
    with pytest.raises(Error, match="'faces'; expected one of digits, photos"):
        data.load("faces", 8)


@pytest.mark.parametrize("name", data.DATASETS)
def test_a_missing_package_is_named_with_its_cure(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(Error, match=r"sklearn.datasets is missing.*pip install 'tandem\[demo\]'"):
        data.load(name, 8)


# ---------------------------------------------------------------------------- prefetch


def test_prefetch_keeps_the_order_and_stays_one_ahead() -> None:
    prepared: list[int] = []

    def prepare(index: int) -> int:
        prepared.append(index)
        return index

    def seen() -> Iterator[int]:
        for index in prefetched(prepare, 3, 9):
            assert len(prepared) <= index - 3 + 2
            yield index

    assert list(seen()) == prepared == list(range(3, 9))


def test_what_fails_in_the_thread_surfaces() -> None:
    def prepare(index: int) -> int:
        if index == 2:
            raise Error("no such image")
        return index

    seen: list[int] = []
    with pytest.raises(Error, match="no such image"):
        seen.extend(prefetched(prepare, 0, 5))
