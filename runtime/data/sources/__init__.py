"""Where images come from: one reader file for each kind of source, and one line here."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from ir.command import DataError
from ir.plan import one_line
from runtime.data.sources import archives, folders, lists, records
from runtime.data.sources.source import Source

__all__ = ["Source", "opened"]

# A folder is of the first kind of which it holds a file; of the last if of none.
_KINDS = {
    records.VALIDATION: records.opened,
    archives.TRAIN: archives.opened,
    lists.TRAIN: lists.opened,
    "*": folders.opened,
}


def opened(path: Path) -> Source:
    """What is to be prepared, by what lies in a folder; a file is a list.

    Raises DataError for a source that is not as its kind must be.
    """
    if not path.exists():
        raise DataError(f"{path}: does not exist")
    found = _reader(path)(path)
    _check(found, path)
    return found


def _reader(path: Path) -> Callable[[Path], Source]:
    if not path.is_dir():
        return lists.opened
    return next(read for name, read in _KINDS.items() if name == "*" or any(path.glob(name)))


def _check(source: Source, path: Path) -> None:
    """Raises DataError for an image that is there twice: parts must share none."""
    names = source.train.names
    twice = {one for one, next in pairwise(names) if one == next}
    if source.validation is not None:
        twice |= {one for one, next in pairwise(source.validation.names) if one == next}
        twice |= set(source.validation.names) & set(names)
    if twice:
        raise DataError(f"{path}: {one_line(min(twice))} is there twice")
