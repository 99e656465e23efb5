"""List files: a line has the path of an image, from the list's folder on, and behind it its label.

Either all labels are numbers, counted from 0, or they are names. A source is one list, or a folder
with `train.txt` and `val.txt`.
"""

from pathlib import Path
from sys import intern

from ir.command import DataError
from runtime.data.sources.listing import Item, Listing, gather
from runtime.data.sources.source import Source, text

TRAIN, VALIDATION = "train.txt", "val.txt"
MOST_DIGITS = 5  # of a label

_Lines = dict[str, str]  # the label of each path


def opened(path: Path) -> Source:
    """Raises DataError for the first line that is wrong."""
    if path.is_file():
        lines = _lines(path)
        classes = _classes(path, lines)
        return Source("list file", classes, _listing(path.parent, lines, classes))
    train, validation = _lines(path / TRAIN), _lines(path / VALIDATION)
    classes = _classes(path / TRAIN, train)
    unknown = set(validation.values()) - set(classes)
    if unknown:
        raise DataError(f"{path / VALIDATION}: label {min(unknown)!r} is not in {TRAIN}")
    return Source(
        about="list files",
        classes=classes,
        train=_listing(path, train, classes),
        validation=_listing(path, validation, classes),
    )


def _lines(path: Path) -> _Lines:
    found: _Lines = {}
    for place, line in text(path):
        *image, label = line.rsplit(maxsplit=1)
        if not image:
            raise DataError(f"{place}: expected a path and a label")
        if image[0] in found:
            raise DataError(f"{place}: {image[0]} is listed twice")
        found[image[0]] = _key(label)
    if not found:
        raise DataError(f"{path}: is empty; expected lines of a path and a label")
    return found


def _key(label: str) -> str:
    """A label without leading zeros, where it is a number; equal ones are one object."""
    return intern(label.lstrip("0") or "0") if _is_number(label) else intern(label)


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdecimal()


def _classes(path: Path, lines: _Lines) -> tuple[str, ...]:
    labels = set(lines.values())
    if not all(map(_is_number, labels)):
        return tuple(sorted(labels))
    last = max(labels, key=lambda label: (len(label), label))
    if len(last) > MOST_DIGITS:
        raise DataError(f"{path}: label {last[:20]}, expected up to {MOST_DIGITS} digits")
    return tuple(map(str, range(int(last) + 1)))


def _listing(root: Path, lines: _Lines, classes: tuple[str, ...]) -> Listing:
    labels = {name: label for label, name in enumerate(classes)}
    return gather((Item(image, labels[label]) for image, label in lines.items()), root)
