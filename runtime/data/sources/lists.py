"""List files: a line has the path of an image, from the list's folder on, and behind it its label.

Either all labels are numbers, counted from 0, or they are names. A source is one list, or a folder
with `train.txt` and `val.txt`.
"""

from pathlib import Path

from ir.command import DataError
from runtime.data.sources.listing import Item, Listing, gather
from runtime.data.sources.source import Source, cannot_read

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
    unknown = {label for _, label in validation} - {_key(name) for name in classes}
    if unknown:
        raise DataError(f"{path / VALIDATION}: label {min(unknown)!r} is not in {TRAIN}")
    return Source(
        about="list files",
        classes=classes,
        train=_listing(path, train, classes),
        validation=_listing(path, validation, classes),
    )


def _lines(path: Path) -> _Lines:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise cannot_read(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; expected a list") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        image, _, label = line.strip().rpartition(" ")
        if not image.strip():
            raise DataError(f"{path}:{number}: expected a path and a label")
        if image.strip() in found:
            raise DataError(f"{path}:{number}: {image.strip()} is listed twice")
        found[image.strip()] = _key(label)
    return list(found.items())


def _key(label: str) -> str:
    """A label without leading zeros, where it is a number."""
    return str(int(label)) if label.isascii() and label.isdigit() else label


def _classes(path: Path, lines: _Lines) -> tuple[str, ...]:
    if not lines:
        raise DataError(f"{path}: is empty; expected lines of a path and a label")
    labels = {label for _, label in lines}
    if not all(label.isascii() and label.isdigit() for label in labels):
        return tuple(sorted(labels))
    last = max(map(int, labels))
    if last >= MOST_CLASSES:
        raise DataError(f"{path}: label {last}, expected less than {MOST_CLASSES}")
    return tuple(map(str, range(last + 1)))


def _listing(root: Path, lines: _Lines, classes: tuple[str, ...]) -> Listing:
    labels = {name: label for label, name in enumerate(classes)}
    return gather((Item(image, labels[label]) for image, label in lines), root)
