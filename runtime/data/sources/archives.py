"""ILSVRC's archives: a tar of one tar for each class, a flat tar for validation, and its truth.

A folder holds one `*train*.tar`, one `*val*.tar`, one `*ground_truth*.txt` with a class's number on
each line, and `synsets.txt` with a number, a synset and its words on each line. Nothing is
unpacked: images are read where they lie in the archives, which must not be compressed.
"""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from ir.command import DataError
from ir.plan import one_line
from runtime.data.sources.listing import Item, Listing, gather
from runtime.data.sources.source import Source, cannot_read, text

TRAIN, VALIDATION, TRUTH = "*train*.tar", "*val*.tar", "*ground_truth*.txt"
SYNSETS = "synsets.txt"

Synsets = dict[str, tuple[str, str]]  # by number: the synset and its words


def opened(root: Path) -> Source:
    """Raises DataError for a missing file, and for an archive with anything but files inside."""
    train, validation, truth = (_one(root, pattern) for pattern in (TRAIN, VALIDATION, TRUTH))
    synsets = _synsets(root / SYNSETS)
    words = dict(synsets.values())
    classes = sorted(_classes(train))
    unknown = [name for name in classes if name not in words]
    if unknown:
        raise DataError(f"{root / SYNSETS}: no line for {one_line(unknown[0])} of {train.name}")
    labels = {name: label for label, name in enumerate(classes)}
    return Source(
        about="archives",
        classes=tuple(f"{name} {words[name]}".strip() for name in classes),
        train=gather(_training(train, labels), train),
        validation=_validation(validation, truth, _truth(truth, synsets, labels)),
    )


def _one(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(f"{root}: expected one file {pattern}, found {names}")
    return found[0]


# ------------------------------------------------------------------------------- labels


def _synsets(path: Path) -> Synsets:
    found: Synsets = {}
    for place, line in text(path):
        number, synset, words = [*line.split(maxsplit=2), "", ""][:3]
        if not number.isdecimal() or not synset or number in found:
            raise DataError(f"{place}: expected a number of its own, a synset and its words")
        found[number] = synset, words
    return found


def _truth(path: Path, synsets: Synsets, labels: dict[str, int]) -> list[int]:
    found = []
    for place, line in text(path):
        synset, _ = synsets.get(line, ("", ""))
        if synset not in labels:
            raise DataError(f"{place}: {one_line(line)} is no number of a class in {SYNSETS}")
        found.append(labels[synset])
    return found


# ---------------------------------------------------------------------------- archives


def _classes(path: Path) -> list[str]:
    with _tar(path) as tar:
        return [PurePosixPath(member.name).stem for member in _files(tar, str(path))]


def _training(path: Path, labels: dict[str, int]) -> Iterator[Item]:
    with _tar(path) as outer:
        for member in _files(outer, str(path)):
            name = PurePosixPath(member.name).stem
            with _tar(path, outer.extractfile(member)) as inner:
                for image in _files(inner, f"{path}: {one_line(member.name)}"):
                    offset = member.offset_data + image.offset_data
                    yield Item(f"{name}/{image.name}", labels[name], 0, offset, image.size)


def _validation(path: Path, truth: Path, labels: list[int]) -> Listing:
    """The images in the order of their names, which is that of the truth."""
    with _tar(path) as tar:
        found = gather(Item(m.name, 0, 0, m.offset_data, m.size) for m in _files(tar, str(path)))
    if len(found) != len(labels):
        raise DataError(f"{truth}: {len(labels)} lines, but {len(found)} images in {path.name}")
    found.labels[:] = labels
    return Listing((path,), found.names, found.labels, found.places)


@contextmanager
def _tar(path: Path, inner: IO[bytes] | None = None) -> Iterator[tarfile.TarFile]:
    """An archive, or one inside of it. Raises DataError as soon as it cannot be read."""
    try:
        with (
            path.open("rb") as file,
            tarfile.open(fileobj=inner or file, mode="r:", encoding="utf-8") as tar,
        ):
            yield tar
    except OSError as error:
        raise cannot_read(path, error) from error
    except tarfile.TarError as error:
        raise DataError(f"{path}: is no whole, uncompressed tar: {error}") from error


def _files(tar: tarfile.TarFile, where: str) -> Iterator[tarfile.TarInfo]:
    """The files in an archive. Raises DataError for a link, a device or a path that leads out."""
    for member in tar:
        path, name = PurePosixPath(member.name), one_line(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise DataError(f"{where}: {name} leads out of the archive")
        if member.issparse() or not (member.isreg() or member.isdir()):
            raise DataError(f"{where}: {name} is neither a plain file nor a folder")
        if member.isreg():
            yield member
    # A damaged header would pass for the end, which is a block of zeros.
    assert tar.fileobj
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DataError(f"{where}: is damaged or cut at byte {tar.offset}")
