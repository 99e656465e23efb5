"""List files: a line has the path of an image, from the list's folder on, and behind it its label.

Either all labels are numbers, counted from 0, or they are names. A source is one list, or a folder
with `train.txt` and `val.txt`.
"""

from pathlib import Path

from ir.command import DataError
from runtime.data.sources.listing import Item, Listing, gather
from runtime.data.sources.source import Source, text

TRAIN, VALIDATION = "train.txt", "val.txt"
MOST_CLASSES = 100_000

_Lines = list[tuple[str, str]]  # path and label


def opened(path: Path) -> Source:
    """Raises DataError for the first line that is wrong."""
    if path.is_file():
        lines = _lines(path)
        classes = _classes(path, lines)
        return Source("list file", classes, _listing(path.parent, lines, classes))
    train, validation = _lines(path / TRAIN), _lines(path / VALIDATION)
    classes = _classes(path / TRAIN, train)
    unknown = {label for _, label in validation} - set(classes)
    if unknown:
        raise DataError(f"{path / VALIDATION}: label {min(unknown)!r} is not in {TRAIN}")
    return Source(
        about="list files",
        classes=classes,
        train=_listing(path, train, classes),
        validation=_listing(path, validation, classes),
    )


def _lines(path: Path) -> _Lines:
    found: dict[str, str] = {}
    for place, line in text(path):
        *image, label = line.rsplit(maxsplit=1)
        if not image:
            raise DataError(f"{place}: expected a path and a label")
        if image[0] in found:
            raise DataError(f"{place}: {image[0]} is listed twice")
        found[image[0]] = _key(label)
    if not found:
        raise DataError(f"{path}: is empty; expected lines of a path and a label")
    return list(found.items())


def _key(label: str) -> str:
    """A label without leading zeros, where it is a number."""
    return str(int(label)) if label.isdecimal() else label


def _classes(path: Path, lines: _Lines) -> tuple[str, ...]:
    labels = {label for _, label in lines}
    if not all(label.isdecimal() for label in labels):
        return tuple(sorted(labels))
    last = max(map(int, labels))
    if last >= MOST_CLASSES:
        raise DataError(f"{path}: label {last}, expected less than {MOST_CLASSES}")
    return tuple(map(str, range(last + 1)))


def _listing(root: Path, lines: _Lines, classes: tuple[str, ...]) -> Listing:
    labels = {name: label for label, name in enumerate(classes)}
    return gather((Item(image, labels[label]) for image, label in lines), root)
