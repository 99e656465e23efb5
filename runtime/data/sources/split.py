"""The two parts of a source: one shuffled once, to learn from, and one in order, to validate."""

from math import ceil

import numpy as np
import numpy.typing as npt

from runtime.data import draws
from runtime.data.dataset import Labels
from runtime.data.draws import Purpose
from runtime.data.sources.listing import Listing
from runtime.data.sources.source import Source


def split(source: Source, share: float, seed: int) -> dict[str, Listing]:
    """Where the source has one part only, a share of each class, at least one image of several,
    is taken for validation.
    """
    mixed = draws.order(len(source.train), Purpose.SPLIT, seed=seed)
    if source.validation is not None:
        return {"train": source.train.at(mixed), "validation": source.validation}
    taken = _taken(source.train.labels[mixed], share)
    return {
        "train": source.train.at(mixed[~taken]),
        "validation": source.train.at(np.sort(mixed[taken])),
    }


def _taken(labels: Labels, share: float) -> npt.NDArray[np.bool]:
    """The first images of each class, where others of it are left."""
    found = np.zeros(len(labels), np.bool)
    for label in range(labels.max(initial=-1) + 1):
        images = np.flatnonzero(labels == label)
        found[images[: min(ceil(share * len(images)), len(images) - 1)]] = True
    return found
