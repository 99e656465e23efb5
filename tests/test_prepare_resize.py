"""Resizing: the mean of the area below each pixel, in integers; the middle of the longer side."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtime.data.resize import square
from tests.counts import cases
from tests.photographs import view

Floats = npt.NDArray[np.float64]


def noise(width: int, height: int, bands: int, seed: int = 0) -> Image.Image:
    shape = (height, width) if bands == 1 else (height, width, bands)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    return Image.fromarray(pixels)


def areas(length: int, shorter: int, size: int) -> Floats:
    """[size,length]: which share of each old pixel a new one is the mean of."""
    new = length * size // shorter
    starts = (np.arange(size) + (new - size) // 2) * length / new
    pixels = np.arange(length)
    ends = np.minimum(starts[:, None] + length / new, pixels + 1)
    shares: Floats = np.maximum(0, ends - np.maximum(starts[:, None], pixels)) * new / length
    return shares


def exact(image: Image.Image, size: int) -> Floats:
    pixels = np.asarray(image, np.float64).reshape(image.height, image.width, -1)
    rows, columns = (areas(n, min(image.size), size) for n in (image.height, image.width))
    means: Floats = np.einsum("rh,hwb,cw->brc", rows, pixels, columns, optimize=True)
    return means


@cases(full=300, sample=40)
@given(
    size=st.integers(24, 40),
    wider=st.integers(0, 70),
    taller=st.integers(0, 70),
    bands=st.sampled_from([1, 3, 4]),
    seed=st.integers(0, 99),
)
def test_shrinking_takes_the_mean_of_areas(
    size: int, wider: int, taller: int, bands: int, seed: int
) -> None:
    image = noise(size + wider, size + taller, bands, seed)
    if min(image.size) >= 8 * size:
        return  # the next test's
    found = square(image, size)
    assert found.shape == (bands, size, size)
    error = np.abs(found - exact(image, size))
    assert error.max() <= 1.5
    assert error.mean() <= 0.6


@cases(full=100, sample=15)
@given(size=st.integers(8, 24), by=st.floats(8, 30), longer=st.floats(1, 2))
def test_shrinking_by_much_comes_close(size: int, by: float, longer: float) -> None:
    image = view(7).resize((round(size * by * longer), round(size * by)))
    # The last of the whole pixels that are averaged first may reach beyond the image.
    assert np.abs(square(image, size) - exact(image, size)).mean() <= 32 / size


@cases(full=200, sample=30)
@given(width=st.integers(1, 60), height=st.integers(1, 60), size=st.integers(1, 64))
def test_one_colour_stays_that_colour(width: int, height: int, size: int) -> None:
    image = Image.new("RGB", (width, height), (3, 128, 255))
    found = square(image, size)
    assert found.shape == (3, size, size)
    assert np.all(found == np.array([3, 128, 255])[:, None, None])


@cases(full=100, sample=20)
@given(width=st.integers(15, 50), height=st.integers(15, 50), more=st.integers(1, 60))
def test_enlarging_is_bicubic_then_cropped(width: int, height: int, more: int) -> None:
    image, size = noise(width, height, 3), min(width, height) + more
    new = [length * size // min(image.size) for length in image.size]
    left, upper = ((length - size) // 2 for length in new)
    whole = image.resize((new[0], new[1]), Image.Resampling.BICUBIC)
    expected = np.asarray(whole.crop((left, upper, left + size, upper + size)))
    assert np.array_equal(square(image, size), expected.transpose(2, 0, 1))


@pytest.mark.parametrize("size", [1, 7, 48])
def test_the_same_size_is_left_alone(size: int) -> None:
    image = noise(size, size, 3)
    assert np.array_equal(square(image, size), np.asarray(image).transpose(2, 0, 1))


def test_a_strip_takes_no_more_memory_than_its_square() -> None:
    assert square(Image.new("RGB", (100_000, 1), (9, 9, 9)), 256).shape == (3, 256, 256)


def test_a_photograph_keeps_its_detail() -> None:
    image = view(0, 300, 200)
    assert np.abs(square(image, 128) - exact(image, 128)).mean() < 0.5
