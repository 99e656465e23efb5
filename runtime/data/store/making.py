"""A shard made from a piece of a listing, or taken over from an earlier attempt if it is whole."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from ir.command import DataError, Error
from ir.plan import one_line
from runtime.data.dataset import Images, Labels
from runtime.data.decode import Refused, decode
from runtime.data.resize import Pixels, square
from runtime.data.sources.hashes import Hashes
from runtime.data.sources.listing import Listing
from runtime.data.store import shard, tensors
from runtime.data.store.manifest import LeftOut, Shard
from runtime.data.store.moments import Moments, moments
from runtime.data.store.tensors import Tensors


@dataclass(frozen=True)
class Task:
    """Which images go into which file; `expected` are the hashes of their files.

    `pixels` is the side of items without a header. With `skip` bad images are left out.
    """

    path: Path
    listing: Listing
    size: int
    pixels: int | None
    skip: bool
    expected: Hashes | None


@dataclass(frozen=True)
class Made:
    """A shard, and what the store as a whole needs to know of it.

    `kept` are the indices, in the task's listing, of the images that are in it.
    """

    shard: Shard
    labels: Labels
    kept: list[int]
    source: Hashes
    left_out: list[LeftOut]
    moments: Moments


def make(task: Task) -> Made:
    """Raises DataError for a bad image unless it may be skipped, Error when writing fails."""
    found = _earlier(task.path)
    if found is None:
        found = _contents(task)
        try:
            digest = tensors.write(task.path, found)
        except OSError as error:
            raise Error(f"{task.path}: cannot be written: {error.strerror}") from error
    else:
        digest = tensors.file_hash(task.path)
    names = set(found.facts["names"])
    return Made(
        shard=Shard(task.path.name, len(found.arrays["labels"]), digest),
        labels=np.array(found.arrays["labels"]),
        kept=[i for i, name in enumerate(task.listing.names) if name in names],
        source=np.array(found.arrays["source"]),
        left_out=[LeftOut(name, reason) for name, reason in found.facts["left_out"]],
        moments=moments(found.arrays["images"]),
    )


def _earlier(path: Path) -> Tensors | None:
    """The shard that an attempt before this one finished, if it did."""
    try:
        return shard.mapped(path) if path.exists() else None
    except DataError:
        return None


@dataclass
class _Taken:
    """What was taken in so far, and what was not."""

    images: Images
    hashes: Hashes
    indices: list[int] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def _contents(task: Task) -> Tensors:
    count = len(task.listing)
    images = np.empty((count, 3, task.size, task.size), np.uint8)
    taken = _Taken(images, np.empty((count, 32), np.uint8))
    for index in range(count):
        _take(task, index, taken)
    kept = len(taken.indices)
    arrays: dict[str, tensors.Array] = {
        "images": images[:kept],
        "labels": task.listing.labels[taken.indices],
        "source": taken.hashes[:kept],
    }
    names = [task.listing.names[index] for index in taken.indices]
    return shard.signed(arrays, {"names": names, "left_out": taken.left_out})


def _take(task: Task, index: int, taken: _Taken) -> None:
    """Add an image, or why it is left out."""
    name, kept = task.listing.names[index], len(taken.indices)
    try:
        data = task.listing.read(index)
        digest = sha256(data).digest()
        if task.expected is not None:
            _compare(digest, task.expected[index].tobytes())
        taken.images[kept] = _pixels(data, task)
    except Refused as reason:
        if not task.skip:
            raise DataError(f"{one_line(name)}: {reason}") from None
        taken.left_out.append((name, str(reason)))
    else:
        taken.hashes[kept] = np.frombuffer(digest, np.uint8)
        taken.indices.append(index)


def _compare(digest: bytes, expected: bytes) -> None:
    if not any(expected):
        raise Refused("has no hash in the list")
    if digest != expected:
        raise Refused(f"has sha256 {digest.hex()}, expected {expected.hex()}")


def _pixels(data: bytes, task: Task) -> Pixels:
    if task.pixels is None:
        return decode(data, task.size)
    planes = np.frombuffer(data, np.uint8).reshape(3, task.pixels, task.pixels)
    return square(Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))), task.size)
