"""Augmentation: what images get follows the recipe's conventions, and never the batches."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from runtime import recipes
from runtime.data import draws
from runtime.data.augmentation import GAIN, Augmentation
from runtime.data.batches import Batches
from runtime.data.dataset import Suits
from runtime.data.draws import Purpose
from runtime.data.statistics import colour_axes
from runtime.recipe import Augment
from tests.counts import cases
from tests.test_data import ALL, CROP, SIZE, feeds, presented

PLACES = SIZE - CROP + 1
CODE145 = recipes.read("code145").augment
EVERYTHING = Suits(crop=True, flip=True, colour=True)
AXES = np.array([[3.0, 0, 0], [0, 0, 20.0], [0, 100.0, 0]])


def augmentation(augment: Augment, places: int = 33, seed: int = 1) -> Augmentation:
    return Augmentation(augment, EVERYTHING, AXES, places, seed)


def order(count: int, seed: int, epoch: int = 0) -> npt.NDArray[np.int64]:
    return draws.order(count, Purpose.ORDER, seed=seed, epoch=epoch)


# ---------------------------------------------------------------------------- batches


@cases(full=200, sample=10)
@given(
    seed=st.integers(0, 2**32 - 1),
    one=st.integers(1, 60),
    other=st.integers(1, 60),
    shared=st.sampled_from([1, 3, 32]),
)
def test_what_an_image_gets_does_not_depend_on_the_batch_size(
    seed: int, one: int, other: int, shared: int
) -> None:
    augment = Augment(shared=shared)
    first, second = (
        presented(Batches(ALL, ALL.train, feeds(n), seed=seed, augment=augment), 2)
        for n in (one, other)
    )
    assert first == second
    assert set(first) == {(epoch, image) for epoch in range(2) for image in range(50)}


@cases(full=100, sample=10)
@given(seed=st.integers(0, 2**32 - 1), index=st.integers(0, 40))
def test_a_batch_does_not_depend_on_those_before_it(seed: int, index: int) -> None:
    run, resumed = (
        Batches(ALL, ALL.train, feeds(16), seed=seed, augment=CODE145) for _ in range(2)
    )
    for earlier in range(index):
        run.batch(earlier)
    after, fresh = run.batch(index), resumed.batch(index)
    assert all(np.array_equal(after[name], fresh[name]) for name in after | fresh)


# ---------------------------------------------------------------------------- crops and flips


@cases(full=200, sample=20)
@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 50), shared=st.integers(2, 33))
def test_images_in_a_row_share_crop_and_flip_but_no_colour(
    seed: int, batch: int, shared: int
) -> None:
    given_ = presented(
        Batches(ALL, ALL.train, feeds(batch), seed=seed, augment=Augment(shared=shared)), 1
    )
    rows = np.arange(50) // shared
    for row in range(rows[-1] + 1):
        images = order(50, seed)[rows == row].tolist()
        moves = {repr(given_[0, image][1:3]) for image in images}
        assert len(moves) == 1
    assert len({repr(entry[3]) for entry in given_.values()}) == 50


@pytest.mark.parametrize(
    ("positions", "places", "expected"),
    [(32, 33, 32), (33, 33, 33), (None, 33, 33), (32, 5, 5), (1, 5, 1)],
)
def test_crops_take_all_positions_and_no_others(
    positions: int | None, places: int, expected: int
) -> None:
    chosen = np.arange(2000)
    found = augmentation(Augment(positions=positions), places).values(chosen, 0, 0)
    for axis in range(2):
        assert set(found["offset"][:, axis].tolist()) == set(range(expected))
    assert set(found["flip"].tolist()) == {0, 1}


def test_what_is_left_out_stays_as_it_is() -> None:
    chosen = np.arange(50)
    still = Augment(crop=False, flip=False, colour=0)
    assert not augmentation(still).values(chosen, 0, 0).keys() - {"shift"}
    batches = Batches(ALL, ALL.train, feeds(50), seed=1, augment=still)
    plain = Batches(ALL, ALL.train, feeds(50), seed=1)
    one, other = batches.batch(0), plain.batch(0)
    assert all(np.array_equal(one[name], other[name]) for name in one | other)
    upright = replace(ALL, suits=Suits(crop=True, flip=False))
    found = Batches(upright, ALL.train, feeds(50), seed=1, augment=Augment()).batch(0)
    assert not found["flip"].any()
    assert not found["shift"].any()
    assert found["gain"] == 1


# -------------------------------------------------------------------------------- colours


@pytest.mark.parametrize("scale", ["deviation", "eigenvalue"])
def test_colours_shift_by_the_deviation_or_the_eigenvalue_of_each_axis(scale: str) -> None:
    augment = changed(Augment(colour=0.1), scale=scale)
    shift = augmentation(augment).values(np.arange(20_000), 0, 0)["shift"].astype(np.float64)
    along = np.abs(AXES).sum(axis=0)  # the deviation of each axis
    lengths = along if scale == "deviation" else along**2 / 255
    expected = 0.1 * np.array([lengths[0], lengths[2], lengths[1]])
    np.testing.assert_allclose(shift.std(axis=0), expected, rtol=0.03)
    assert np.all(np.abs(shift.mean(axis=0)) < 0.03 * expected)


def test_both_scales_draw_the_same_alphas() -> None:
    axes = colour_axes(ALL.train)
    found = [
        Batches(ALL, ALL.train, feeds(50), seed=4, augment=changed(Augment(), scale=scale)).batch(0)
        for scale in ("deviation", "eigenvalue")
    ]
    alphas = [
        np.linalg.solve(by, values["shift"].T.astype(np.float64))
        for values, by in zip(found, (axes, axes * np.linalg.norm(axes, axis=0) / 255), strict=True)
    ]
    np.testing.assert_allclose(alphas[0], alphas[1], rtol=1e-3, atol=1e-5)


def test_noise_ends_with_its_epoch_and_the_gain_with_it() -> None:
    augment = Augment(until=2, shared=32)
    batches = Batches(ALL, ALL.train, feeds(25), seed=1, augment=augment)
    for index in range(2 * 4):
        values, noisy = batches.batch(index), index // batches.count < 2
        assert values["shift"].any() == noisy
        assert values["gain"] == (GAIN if noisy else 1)
        assert values["offset"].any()
    always = Batches(ALL, ALL.train, feeds(25), seed=1, augment=Augment(shared=32)).batch(7)
    assert np.array_equal(always["offset"], batches.batch(7)["offset"])
