"""From what a person or a data set feeds to what lies in memory: checked, converted, packed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ir.command import DataError
from ir.plan import Feed, Program
from runtime.memory import DTYPES, encoded
from runtime.packing import Array, pack


@dataclass(frozen=True)
class Packed:
    """The value of one feed as its copies lie in memory, in the order of the program's feeds."""

    name: str
    parts: tuple[Array, ...]


class Feeds:
    """The feeds of one program, by logical name. May be used by several threads."""

    def __init__(self, program: Program) -> None:
        self.copies: dict[str, list[Feed]] = {}
        for feed in program.feeds:
            self.copies.setdefault(feed.logical, []).append(feed)

    def pack(self, name: str, value: npt.ArrayLike) -> Packed:
        """What already lies as memory has it, such as images, is not copied: leave it unchanged.

        Raises DataError for an unknown name, another shape or type, and values out of range.
        """
        if name not in self.copies:
            expected = ", ".join(sorted(self.copies)) or "none"
            raise DataError(f"feed '{name}' is unknown, expected one of {expected}")
        first, *others = self.copies[name]
        array = encoded(_checked(first, np.asarray(value)), first.tensor.dtype)
        parts = [pack(array, first.tensor.layout)]
        for other in others:
            same = other.tensor.layout == first.tensor.layout
            parts.append(parts[0] if same else pack(array, other.tensor.layout))
        return Packed(name, tuple(parts))


def _checked(feed: Feed, value: Array) -> Array:
    where = f"feed '{feed.logical}'"
    shape, dtype = feed.tensor.layout.shape, DTYPES[feed.tensor.dtype]
    if value.shape != shape:
        raise DataError(f"{where}: shape {list(value.shape)}, expected {list(shape)}")
    # A number typed by a person may go into any type that can hold it.
    fitting = {"f": "fiu" if value.ndim == 0 else "f", "i": "iu", "u": "iu"}[dtype.kind]
    if value.dtype.kind not in fitting:
        raise DataError(f"{where}: {value.dtype}, expected {dtype}")
    if dtype.kind != "f":
        limit = int(np.iinfo(dtype).max) + 1
        least = 0 if feed.below else int(np.iinfo(dtype).min)
        _in_range(where, value, least, min(feed.below or limit, limit))
    return value.astype(dtype, copy=False)


def _in_range(where: str, value: Any, least: int, limit: int) -> None:
    possible = np.iinfo(value.dtype)
    if least <= possible.min and possible.max < limit:
        return
    wrong = np.argwhere((value < least) | (value >= limit))
    if len(wrong):
        place = tuple(int(index) for index in wrong[0])
        at = f" at {list(place)}" if place else ""
        raise DataError(f"{where}: {value[place]}{at}, expected integers in [{least}, {limit})")
