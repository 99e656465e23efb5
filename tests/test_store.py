"""Stores as data sets, and `runtime.data.check`, which finds any damage in them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from ir.command import DataError, Error
from runtime import data
from runtime.data import check, store
from runtime.data.batches import Batches
from runtime.data.dataset import Dataset, Part
from runtime.data.decode import decode
from runtime.data.sources import opened
from runtime.data.sources.split import split
from runtime.data.statistics import colour_axes, mean_image
from runtime.data.store import manifest, moments, shard, tensors
from runtime.data.store.attempt import Choices, Content
from runtime.data.store.preparation import prepare
from tests.commands import assert_refused, python
from tests.counts import cases
from tests.photographs import source
from tests.test_data import feeds

SIZE, COUNT = 24, 60


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source(tmp_path_factory.mktemp("origin"), COUNT, ("cat", "dog", "fox"))


@pytest.fixture(scope="module")
def folder(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of several small shards."""
    made = tmp_path_factory.mktemp("made") / "store"
    found = opened(origin)
    parts = split(found, 0.2, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard, "BYTES", 20_000)
        content = Content(found.about, found.classes, None, parts)
        prepare(made, content, Choices(SIZE, 0, skip=False), workers=1)
    return made


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return data.load(str(folder), SIZE)


def stored(folder: Path, part: str) -> list[tuple[str, int]]:
    """Names and labels in order."""
    found = [tensors.mapped(folder / s.file) for s in manifest.read(folder).shards(part)]
    return [
        (name, int(label))
        for each in found
        for name, label in zip(each.facts["names"], each.arrays["labels"], strict=True)
    ]


# ------------------------------------------------------------------------------ reading


def test_a_store_has_several_shards(folder: Path) -> None:
    assert len(manifest.read(folder).train) > 3


@pytest.mark.parametrize("part", ["train", "validation"])
def test_images_and_labels_are_those_of_the_source(
    folder: Path, origin: Path, dataset: Dataset, part: str
) -> None:
    found: Part = getattr(dataset, part)
    names = stored(folder, part)
    images = found.read(np.arange(len(found)))
    for image, label, (name, expected) in zip(images, found.labels, names, strict=True):
        assert np.array_equal(image, decode((origin / name).read_bytes(), SIZE))
        assert dataset.names[label] == name.split("/")[0]
        assert label == expected


@cases(full=200, sample=30)
@given(indices=st.lists(st.integers(0, COUNT // 2), max_size=20))
def test_any_order_may_be_read(dataset: Dataset, indices: list[int]) -> None:
    whole = dataset.train.read(np.arange(len(dataset.train)))
    assert np.array_equal(dataset.train.read(np.array(indices, np.int64)), whole[indices])


def test_reading_keeps_no_file_open(folder: Path) -> None:
    # A store of ImageNet has more shards than a process may usually have files.
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    found = store.opened(folder, SIZE)
    before = count()
    for part in (found.train, found.validation):
        part.read(np.arange(len(part)))
    assert count() == before


def test_images_cut_while_in_use_are_no_crash(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    part = store.opened(copy, SIZE).train
    part.read(np.array([0, 1]))
    path = copy / manifest.read(copy).train[0].file
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match=f"{path.name}: was cut while it was in use"):
        part.read(np.arange(manifest.read(copy).train[0].count))


def test_statistics_are_the_stored_ones(dataset: Dataset) -> None:
    train = dataset.train
    pixels = train.read(np.arange(len(train))).astype(float)
    np.testing.assert_allclose(mean_image(train), pixels.mean(axis=0), rtol=1e-6)
    axes = colour_axes(train)
    colours = pixels.transpose(1, 0, 2, 3).reshape(3, -1)
    np.testing.assert_allclose(axes @ axes.T, np.cov(colours), rtol=1e-9)

    def fail(indices: object) -> Any:
        raise AssertionError("read")

    unread = Part(train.labels, fail, train.statistics)
    assert np.array_equal(mean_image(unread), mean_image(train))


def test_batches_are_made_of_a_store(dataset: Dataset) -> None:
    batches = Batches(dataset, dataset.train, feeds(8))
    assert np.array_equal(batches.batch(1)["images"], dataset.train.read(np.arange(8, 16)))


@cases(full=100, sample=20)
@given(cuts=st.lists(st.integers(0, 40), max_size=4), seed=st.integers(0, 9))
def test_moments_do_not_depend_on_how_images_are_dealt(cuts: list[int], seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (40, 3, 5, 5)).astype(np.uint8)
    parts = [moments.moments(some) for some in np.split(images, sorted(cuts))]
    total = sum(parts[1:], parts[0]).statistics()
    whole = moments.moments(images).statistics()
    assert np.array_equal(total.mean, whole.mean)
    assert np.array_equal(total.covariance, whole.covariance)


@pytest.mark.parametrize("shape", [(300, 1, 1), (2, 257, 257), (2, 1000, 1000)])
def test_moments_of_the_brightest_images_are_exact(shape: tuple[int, int, int]) -> None:
    count, *sides = shape
    found = moments.moments(np.full((count, 3, *sides), 255, np.uint8))
    assert found.count == count
    assert (found.pixels == 255 * count).all()
    assert (found.colours == 255**2 * count * sides[0] * sides[1]).all()


def test_shards_are_the_public_format(folder: Path) -> None:
    path = folder / manifest.read(folder).train[0].file
    found = load_file(path)
    assert found["images"].shape[1:] == (3, SIZE, SIZE)
    assert {name: array.tobytes() for name, array in tensors.mapped(path).arrays.items()} == {
        name: array.tobytes() for name, array in found.items()
    }


def test_names_of_classes_can_be_printed_whatever_the_folders_are_called(tmp_path: Path) -> None:
    names = (os.fsdecode(b"caf\xe9"), "two\nlines", "ümlaut")
    origin, made = source(tmp_path / "origin", 6, names), tmp_path / "store"
    done = python("runtime.data.prepare", str(origin), str(made), "--size", "8", "--workers", "1")
    assert done.code == 0, done.err
    assert store.opened(made, 8).names == (r"caf\udce9", r"two\nlines", "ümlaut")


# ---------------------------------------------------------------------------- refusals


def test_another_size_is_refused_with_the_cure(folder: Path) -> None:
    with pytest.raises(DataError, match=r"24x24, the plan takes 32x32; .* --size 32"):
        data.load(str(folder), 32)


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no store.json, so it is no finished store"):
        data.load(str(tmp_path), SIZE)
    with pytest.raises(Error, match="'nothing'; expected one of digits, photos, or a store"):
        data.load("nothing", SIZE)


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"version": 2}, "version 2, expected 1"),
    ({"size": 0}, "size 0 and 3 classes"),
    ({"size": "x"}, "Expected `int`, got `str`"),
    ({"classes": []}, "size 24 and 0 classes"),
    ({"more": 1}, "unknown field `more`"),
    ({"train": []}, "train has no images"),
    (
        {"train": [{"file": "../x", "count": 1, "sha256": "0" * 64}]},
        r"train\[0\] is '../x' with 1 images",
    ),
    (
        {"validation": [{"file": "validation-00000.safetensors", "count": 1, "sha256": "0"}]},
        r"validation\[0\].sha256 is no sha256",
    ),
    ({"classes": ["cat"]}, "the labels of train do not fit"),
    ({"summary": "0" * 64}, "summary.safetensors: is damaged"),
]


@pytest.mark.parametrize(("change", "complaint"), CHANGES)
def test_a_manifest_that_is_wrong_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    facts = json.loads((copy / "store.json").read_text())
    (copy / "store.json").write_text(json.dumps(facts | change))
    with pytest.raises(DataError, match=complaint):
        store.opened(copy, SIZE)


# ----------------------------------------------------------------------------- checking


def tasks_of(folder: Path) -> list[check.Task]:
    facts = manifest.read(folder)
    summary = store.summary_of(folder, facts)
    return [t for part in manifest.PARTS for t in check._tasks(folder, facts, summary, part, False)]


def complaints(folder: Path) -> list[str]:
    """What the check finds, without the processes of the command."""
    try:
        return [found for task in tasks_of(folder) if (found := check.check(task)[0])]
    except DataError as error:
        return [str(error)]


@cases(full=400, sample=40)
@given(which=st.integers(0, 100), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, which: int, place: float, bit: int
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path_factory.mktemp("bit") / "copy"))
    assert not complaints(copy)
    files = sorted(copy.glob("*.safetensors"))
    path = files[which % len(files)]
    raw = bytearray(path.read_bytes())
    raw[int(place * len(raw))] ^= 1 << bit
    path.write_bytes(raw)
    assert path.name in "".join(complaints(copy))
    shutil.rmtree(copy)


@cases(full=100, sample=15)
@given(which=st.integers(0, 100), kept=st.floats(0, 1, exclude_max=True))
def test_any_cut_is_found_before_it_is_read(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, which: int, kept: float
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path_factory.mktemp("cut") / "copy"))
    files = sorted(copy.glob("*.safetensors"))
    path = files[which % len(files)]
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert path.name in "".join(complaints(copy))

    def read() -> None:
        found = store.opened(copy, SIZE)
        for part in (found.train, found.validation):
            part.read(np.arange(len(part)))

    with pytest.raises(DataError, match=path.name):
        read()
    shutil.rmtree(copy)


def test_the_command_verifies_and_names_what_is_damaged(folder: Path, tmp_path: Path) -> None:
    whole = python("runtime.data.check", str(folder), "--full", "--workers", "2")
    assert whole.code == 0, whole.err
    assert "all whole" in whole.out
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (name, _), *_ = stored(copy, "validation")
    path = copy / manifest.read(copy).validation[0].file
    raw = path.read_bytes()
    first = tensors.mapped(path).arrays["images"][0].tobytes()
    path.write_bytes(raw.replace(first, b"\0" + first[1:] if first[0] else b"\1" + first[1:]))
    done = python("runtime.data.check", str(copy))
    assert_refused(done, path.name, "1 damaged images", name, code=3)


def test_statistics_that_are_not_the_pixels_are_found(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    found = tensors.mapped(copy / "summary.safetensors")
    mean = found.arrays["mean"] + np.float32(1)
    digest = tensors.write(
        copy / "summary.safetensors", tensors.Tensors({**found.arrays, "mean": mean}, {})
    )
    facts = json.loads((copy / "store.json").read_text())
    (copy / "store.json").write_text(json.dumps(facts | {"summary": digest}))
    assert not complaints(copy)
    with pytest.raises(DataError, match="mean is not that of the training images"):
        check.verify(copy, full=True, workers=1)
