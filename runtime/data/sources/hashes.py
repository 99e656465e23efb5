"""Lists of hashes as `sha256sum` writes and checks them, by the names of a source's images."""

import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ir.command import DataError, Error
from ir.plan import one_line, write_whole
from runtime.data.sources.listing import Listing

Hashes = npt.NDArray[np.uint8]  # [n,32]

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_MEANT = {escape: character for character, escape in _ESCAPES.items()}


def write(path: Path, hashed: Iterable[tuple[str, bytes]]) -> None:
    """Write names and their hashes, in the order of names. Raises Error."""
    try:
        write_whole(path, (_line(name, digest) for name, digest in sorted(hashed)))
    except OSError as error:
        raise Error(f"{path}: cannot be written: {error.strerror}") from error


def read(path: Path, listings: list[Listing]) -> tuple[list[Hashes], list[str]]:
    """The hashes of listed images, zeros where there is none, and the names that are not listed.

    Raises DataError for a line that `sha256sum` did not write.
    """
    names = chain.from_iterable(listing.names for listing in listings)
    places = {name: place for place, name in enumerate(names)}
    ends = np.cumsum([len(listing) for listing in listings])
    found, others = np.zeros((len(places), 32), np.uint8), []
    for name, digest in _lines(path):
        if name in places:
            found[places[name]] = np.frombuffer(digest, np.uint8)
        else:
            others.append(name)
    return np.split(found, ends[:-1]), others


def _line(name: str, digest: bytes) -> bytes:
    escaped = "".join(_ESCAPES.get(c, c) for c in name)
    mark = "\\" if escaped != name else ""
    return os.fsencode(f"{mark}{digest.hex()}  {escaped}\n")


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield _parsed(os.fsdecode(line.rstrip(b"\n")), f"{path}:{number}")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _parsed(line: str, place: str) -> tuple[str, bytes]:
    digest, name = line.removeprefix("\\")[:64], line.removeprefix("\\")[64:]
    try:
        value = bytes.fromhex(digest)
    except ValueError:
        value = b""
    if len(value) != 32 or name[:2] not in ("  ", " *") or len(name) < 3:
        raise DataError(f"{place}: expected 64 hex digits and a name, got {one_line(line[:80])!r}")
    if line.startswith("\\"):
        name = re.sub(r"\\[\\nr]", lambda found: _MEANT[found[0]], name)
    return name[2:], value
