"""Class folders: each subfolder is a class, and all files in it and below are its images.

Where there are a folder `train` and a folder `val` or `validation`, these hold the class folders of
the two parts. Names that begin with a dot are passed over; links are followed.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from ir.command import DataError
from runtime.data.sources.listing import Item, Listing, gather
from runtime.data.sources.source import Source, cannot_read

VALIDATION = ("val", "validation")


def opened(root: Path) -> Source:
    """Raises DataError for a source without classes, and for a class without files."""
    inside = _folders(root)
    second = [name for name in VALIDATION if name in inside]
    if "train" not in inside or not second:
        return Source("class folders", tuple(inside), _listing(root, root, inside))
    train, validation = root / "train", root / second[0]
    classes = _folders(train)
    unknown = [name for name in _folders(validation) if name not in classes]
    if unknown:
        raise DataError(f"{validation / unknown[0]}: is no class of {train}")
    return Source(
        about="class folders for training and validation",
        classes=tuple(classes),
        train=_listing(root, train, classes),
        validation=gather(_items(root, validation, classes), root),
    )


def _folders(root: Path) -> list[str]:
    """The names of the folders in a folder, sorted."""
    try:
        with os.scandir(root) as entries:
            found = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise cannot_read(root, error) from error
    if not found:
        raise DataError(f"{root}: has no class folders; expected one for each class")
    return found


def _listing(root: Path, part: Path, classes: list[str]) -> Listing:
    """All files of the classes in a part; each class must have one."""
    found = gather(_items(root, part, classes), root)
    empty = set(range(len(classes))) - set(found.labels.tolist())
    if empty:
        raise DataError(f"{part / classes[min(empty)]}: is a class without files")
    return found


def _items(root: Path, part: Path, classes: list[str]) -> Iterator[Item]:
    seen: dict[tuple[int, int], str] = {}
    for label, name in enumerate(classes):
        if (part / name).is_dir():  # in validation a class may be missing
            for folder, files in _below(part / name):
                _enter(folder, seen)
                below = os.path.relpath(folder, root)
                yield from (Item(f"{below}/{f}", label) for f in files if not f.startswith("."))


def _below(top: Path) -> Iterator[tuple[str, list[str]]]:
    """A folder and all below it, with the files in each."""

    def fail(error: OSError) -> None:
        raise cannot_read(Path(error.filename), error)

    for folder, inner, files in os.walk(top, onerror=fail, followlinks=True):
        inner[:] = sorted(each for each in inner if not each.startswith("."))
        yield folder, files


def _enter(folder: str, seen: dict[tuple[int, int], str]) -> None:
    """Raises DataError for a folder that links lead to once more: some lead round for ever."""
    facts = os.stat(folder)
    first = seen.setdefault((facts.st_dev, facts.st_ino), folder)
    if first != folder:
        raise DataError(f"{folder}: is {first} once more, expected each folder once")
