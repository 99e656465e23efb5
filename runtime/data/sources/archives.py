"""ILSVRC's archives: a tar of a tar for each class, a flat tar for validation, and its truth.

A folder holds one `*train*.tar`, one `*val*.tar`, one `*ground_truth*.txt` with the number of a
class on each line, and `synsets.txt` with a number, a synset and its words on each line. Nothing is
unpacked: images are read where they lie in the archives, so these must not be compressed.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ir.command import DataError
from ir.plan import one_line
from runtime.data.sources.listing import Item, Listing, gather
from runtime.data.sources.source import Source, cannot_read

TRAIN, VALIDATION, TRUTH = "*train*.tar", "*val*.tar", "*ground_truth*.txt"
SYNSETS = "synsets.txt"


def opened(root: Path) -> Source:
    """Raises DataError for a missing file, and for an archive with anything but images inside."""
    train, validation, truth = (_one(root, pattern) for pattern in (TRAIN, VALIDATION, TRUTH))
    synsets = _synsets(root / SYNSETS)
    tars = {PurePosixPath(m.name).stem: m for m in _members(train)}
    classes = sorted(tars)
    words = {synset: text for synset, text in synsets.values()}
    unknown = [name for name in classes if name not in words]
    if unknown:
        raise DataError(f"{root / SYNSETS}: no line for {one_line(unknown[0])} of {train.name}")
    labels = {name: label for label, name in enumerate(classes)}
    return Source(
        about="archives",
        classes=tuple(f"{name} {words[name]}".strip() for name in classes),
        train=gather(_training(train, tars, labels), train),
        validation=_validation(validation, _truth(truth, synsets, labels)),
    )


def _one(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(f"{root}: expected one file {pattern}, found {names}")
    return found[0]


# ---------------------------------------------------------------------------- archives


def _members(path: Path, of: tarfile.TarInfo | None = None) -> Iterator[tarfile.TarInfo]:
    """The files in an archive, or in one inside it, with offsets in the outer one.

    Raises DataError for whatever is neither a regular file nor a folder, or lies outside.
    """
    where = f"{path}: {one_line(of.name)}" if of else str(path)
    try:
        with path.open("rb") as file, tarfile.open(fileobj=_inner(file, of), mode="r:") as tar:
            for member in tar:
                _check(member, where)
                if member.isreg():
                    member.offset_data += of.offset_data if of else 0
                    yield member
    except OSError as error:
        raise cannot_read(path, error) from error
    except tarfile.TarError as error:
        raise DataError(f"{where}: no whole uncompressed tar: {error}") from error


def _inner(file: BinaryIO, of: tarfile.TarInfo | None) -> BinaryIO:
    return file
