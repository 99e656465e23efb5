"""What a source holds, before any picture is looked at: compact, for millions of files."""

import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.data.dataset import Labels
from runtime.data.draws import Indices
from runtime.data.sources import file
from runtime.data.sources.file import WHOLE

Places = npt.NDArray[np.int64]


class Item(NamedTuple):
    """One image: its name, its class, and `size` bytes at `offset` of a container.

    Where the size is WHOLE it is the file `name` in the container, which is a folder.
    """

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
        return file.read(path / self.names[index] if size == WHOLE else path, offset, size)

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
