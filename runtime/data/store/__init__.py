"""Stores that `runtime.data.prepare` made, as data sets."""

from functools import cache
from pathlib import Path

import numpy as np

from ir.command import DataError
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
        names=facts.classes,
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
    shards, size = facts.shards(part), facts.size
    starts = np.cumsum([0, *(shard.count for shard in shards)])

    @cache
    def images(number: int) -> Images:
        path = folder / shards[number].file
        found: Images = tensors.mapped(path).arrays["images"]
        if found.shape != (shards[number].count, 3, size, size):
            raise DataError(f"{path}: has images {list(found.shape)}, unlike {MANIFEST}")
        return found

    def read(indices: Indices) -> Images:
        found = np.empty((len(indices), 3, size, size), np.uint8)
        numbers = np.searchsorted(starts, indices, side="right") - 1
        for place, (number, index) in enumerate(
            zip(numbers.tolist(), indices.tolist(), strict=True)
        ):
            found[place] = images(number)[index - starts[number]]
        return found

    return Part(labels, read)
