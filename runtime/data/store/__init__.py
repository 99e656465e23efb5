"""Stores that `runtime.data.prepare` made, as data sets."""

import os
from functools import cache
from pathlib import Path

import numpy as np

from ir.command import DataError
from ir.plan import one_line
from runtime import recipes
from runtime.data.dataset import Dataset, Images, Labels, Part, Statistics, Suits
from runtime.data.draws import Indices
from runtime.data.store import manifest, tensors
from runtime.data.store.manifest import MANIFEST, PARTS, SUMMARY, Manifest
from runtime.data.store.tensors import Tensors

SUITS = Suits(crop=True, flip=True, colour=True)


def opened(folder: Path, size: int) -> Dataset:
    """The store in a folder; its images are read as they are needed.

    Raises DataError for a store that is damaged, or whose images have another size.
    """
    facts = manifest.read(folder)
    if facts.size != size:
        raise DataError(
            f"{folder}: its images are {facts.size}x{facts.size}, the plan takes {size}x{size}; "
            f"prepare a store with --size {size}"
        )
    summary = summary_of(folder, facts)
    statistics = Statistics(summary.arrays["mean"], summary.arrays["covariance"])
    train, validation = (_part(folder, facts, part, summary.arrays[part]) for part in PARTS)
    return Dataset(
        name=str(folder),
        about=f"store of {len(facts.classes)} classes, {size}x{size}",
        classes=len(facts.classes),
        train=Part(train.labels, train.read, statistics),
        validation=validation,
        suits=SUITS,
        recipe=recipes.read("paper"),
        names=tuple(map(one_line, facts.classes)),
    )


def summary_of(folder: Path, facts: Manifest) -> Tensors:
    """Labels, mean and covariance. Raises DataError unless they are the manifest's."""
    path = folder / SUMMARY
    if tensors.file_hash(path) != facts.summary:
        raise DataError(f"{path}: is damaged: its sha256 is not that in {MANIFEST}")
    found = tensors.mapped(path)
    for part in PARTS:
        labels = found.arrays[part]
        if len(labels) != facts.count(part) or not _within(labels, len(facts.classes)):
            raise DataError(f"{path}: the labels of {part} do not fit {MANIFEST}")
    return found


def _within(labels: Labels, classes: int) -> bool:
    return bool(((labels >= 0) & (labels < classes)).all())


def _part(folder: Path, facts: Manifest, part: str, labels: Labels) -> Part:
    shards, shape = facts.shards(part), (3, facts.size, facts.size)
    paths = [folder / shard.file for shard in shards]
    firsts = np.cumsum([0, *(shard.count for shard in shards)])

    @cache
    def start(number: int) -> int:
        return _start(paths[number], (shards[number].count, *shape))

    def read(indices: Indices) -> Images:
        found = np.empty((len(indices), *shape), np.uint8)
        numbers = np.searchsorted(firsts, indices, side="right") - 1
        within = (indices - firsts[numbers]).tolist()
        for image, number, index in zip(found, numbers.tolist(), within, strict=True):
            _fill(image, paths[number], start(number) + index * image.nbytes)
        return found

    return Part(labels, read)


def _start(path: Path, shape: tuple[int, ...]) -> int:
    """Where in a shard its images begin. Raises DataError unless they have a shape."""
    found = tensors.mapped(path)
    images = found.arrays.get("images")
    if images is None or images.dtype != np.uint8 or images.shape != shape:
        raise DataError(f"{path}: has no images u8{list(shape)}, unlike {MANIFEST}")
    return found.starts["images"]


def _fill(image: Images, path: Path, start: int) -> None:
    """Read an image from its place in a shard. Raises DataError.

    No shard stays open or mapped: there may be more of them than a process may have files.
    """
    try:
        # As fast as from a map, which `Path.open` is not.
        handle = os.open(path, os.O_RDONLY)
        try:
            count = os.preadv(handle, [image.data], start)
        finally:
            os.close(handle)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if count != image.nbytes:
        raise DataError(f"{path}: was cut while it was in use")
