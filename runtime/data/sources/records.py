"""CIFAR-10's binary files: records of a label and 3x32x32 pixels, with the names of the classes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ir.command import DataError
from runtime.data.sources.listing import Item, Listing, gather
from runtime.data.sources.source import Source, cannot_read, text

TRAIN, VALIDATION, NAMES = "data_batch_*.bin", "test_batch.bin", "batches.meta.txt"
SIDE = 32
PIXELS = 3 * SIDE * SIDE
RECORD = 1 + PIXELS


def opened(root: Path) -> Source:
    """Raises DataError for a file that is cut, and for a label without a name."""
    classes = tuple(line for _, line in text(root / NAMES))
    return Source(
        about="records of 3x32x32 pixels",
        classes=classes,
        train=_listing(sorted(root.glob(TRAIN)), len(classes)),
        validation=_listing([root / VALIDATION], len(classes)),
        pixels=SIDE,
    )


def _listing(paths: list[Path], classes: int) -> Listing:
    def items() -> Iterator[Item]:
        for container, path in enumerate(paths):
            for number, label in enumerate(_labels(path, classes)):
                offset = number * RECORD + 1
                yield Item(f"{path.name}/{number:05}", label, container, offset, PIXELS)

    return gather(items(), *paths)


def _labels(path: Path, classes: int) -> list[int]:
    try:
        if path.stat().st_size % RECORD:
            raise DataError(f"{path}: {path.stat().st_size} bytes, expected records of {RECORD}")
        found = np.fromfile(path, np.uint8).reshape(-1, RECORD)[:, 0]
    except OSError as error:
        raise cannot_read(path, error) from error
    wrong = np.flatnonzero(found >= classes)
    if len(wrong):
        number = wrong[0]
        raise DataError(f"{path}: record {number} has label {found[number]}, of {classes} classes")
    return [int(label) for label in found]
