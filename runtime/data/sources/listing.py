"""What a source holds, before any picture is looked at: compact, for millions of files."""

import os
import stat
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.data.dataset import Labels
from runtime.data.decode import Refused
from runtime.data.draws import Indices

MOST_BYTES = 256 * 2**20  # of an image file
WHOLE = -1  # in place of a size: the file `name` in the container, which is a folder

Places = npt.NDArray[np.int64]


class Item(NamedTuple):
    """One image: its name, its class, and `size` bytes at `offset` of a container."""

    name: str
    label: int
    container: int = 0
    offset: int = 0
    size: int = WHOLE


@dataclass(frozen=True, eq=False)
class Listing:
    """n items as columns: names, labels i32[n], places i64[n,3] (container, offset, size)."""

    containers: tuple[Path, ...]
    names: Sequence[str]
    labels: Labels
    places: Places

    def __len__(self) -> int:
        return len(self.names)

    def at(self, indices: Indices) -> "Listing":
        """The items at some indices, in that order."""
        names = [self.names[index] for index in indices]
        return Listing(self.containers, names, self.labels[indices], self.places[indices])

    def read(self, index: int) -> bytes:
        """The bytes of an item. Raises Refused when they cannot be had."""
        container, offset, size = self.places[index].tolist()
        path = self.containers[container]
        path = path / self.names[index] if size == WHOLE else path
        try:
            return _read(path, offset, size)
        except OSError as error:
            raise Refused(f"cannot be read: {error.strerror}") from error

    @property
    def digest(self) -> str:
        """The sha256 of everything listed."""
        found = sha256(self.labels.tobytes() + self.places.tobytes())
        for name in self.names:
            found.update(os.fsencode(name) + b"\0")
        return found.hexdigest()


def gather(items: Iterable[Item], *containers: Path) -> Listing:
    """A listing of items, sorted by name."""
    names: list[str] = []
    labels, places = array("i"), array("q")
    for item in items:
        names.append(item.name)
        labels.append(item.label)
        places.extend(item[2:])
    found = Listing(
        containers,
        names,
        np.array(labels, np.int32),
        np.array(places, np.int64).reshape(-1, 3),
    )
    return found.at(np.array(sorted(range(len(names)), key=names.__getitem__), np.int64))


def _read(path: Path, offset: int, size: int) -> bytes:
    # A pipe would block where it is opened, and a device has no end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise Refused("is no regular file")
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(MOST_BYTES + 1 if size == WHOLE else min(size, MOST_BYTES + 1))
    if len(data) > MOST_BYTES:
        raise Refused(f"is larger than {MOST_BYTES // 2**20} MB")
    if size not in (WHOLE, len(data)):
        raise Refused(f"ends after {len(data)} of {size} bytes")
    return data
