"""Where feeds and outputs lie on their way: one block of bytes in and one out, for each device."""

from collections.abc import Iterable
from dataclasses import dataclass

from ir.plan import ALIGNMENT, Program, Tensor


@dataclass(frozen=True)
class Parcel:
    """A tensor's place in a block; of a feed also its name and which of its copies it is."""

    tensor: Tensor
    place: int
    name: str = ""
    copy: int = 0

    @property
    def end(self) -> int:
        """Where the next one may begin; nothing else lies there in the arena either."""
        return self.place + -(-self.tensor.bytes // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Bundle:
    """Feeds side by side in the arena too, so that one copy takes them all."""

    place: int
    offset: int
    bytes: int


class Mail:
    """What one program gets and gives on one device."""

    def __init__(self, program: Program, device: int) -> None:
        """Feeds are in the order of the arena."""
        copies: dict[str, int] = {}
        feeds: list[tuple[Tensor, str, int]] = []
        for feed in program.feeds:
            copy = copies[feed.logical] = copies.get(feed.logical, -1) + 1
            if feed.tensor.device == device:
                feeds.append((feed.tensor, feed.logical, copy))
        outputs = [(tensor, "", 0) for tensor in program.outputs if tensor.device == device]
        self.feeds = _placed(sorted(feeds, key=lambda feed: feed[0].offset))
        self.outputs = _placed(outputs)

    def bundles(self) -> list[Bundle]:
        """What brings the feeds from the block into the arena."""
        groups: list[list[Parcel]] = []
        for parcel in self.feeds:
            if groups and _beside(groups[-1][-1], parcel):
                groups[-1].append(parcel)
            else:
                groups.append([parcel])
        return [
            Bundle(first.place, first.tensor.offset, last.place + last.tensor.bytes - first.place)
            for first, last in ((group[0], group[-1]) for group in groups)
        ]


def size(parcels: list[Parcel]) -> int:
    """Bytes of a block."""
    return parcels[-1].end if parcels else 0


def _placed(tensors: Iterable[tuple[Tensor, str, int]]) -> list[Parcel]:
    parcels: list[Parcel] = []
    for tensor, name, copy in tensors:
        parcels.append(Parcel(tensor, size(parcels), name, copy))
    return parcels


def _beside(one: Parcel, other: Parcel) -> bool:
    return other.tensor.offset - one.tensor.offset == other.place - one.place
