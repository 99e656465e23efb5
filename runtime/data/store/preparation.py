"""A store made from a source: shards in order, then the summary, then the manifest.

Shards that an attempt before this one finished are kept if they are whole; the store has the same
bytes as one that was made at one go.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ir.command import DataError, Error
from runtime import files
from runtime.data.dataset import Labels
from runtime.data.sources.hashes import Hashes
from runtime.data.sources.listing import Listing
from runtime.data.store import manifest, tensors
from runtime.data.store.attempt import UNFINISHED, Choices, Content, begin
from runtime.data.store.making import Made, Task, make
from runtime.data.store.manifest import PARTS, SUMMARY, LeftOut, Manifest, Shard, shard_file
from runtime.data.store.moments import Moments
from runtime.data.store.shard import images_per_shard
from runtime.data.store.tensors import Tensors
from runtime.data.workers import ordered
from runtime.progress import Bar

_NONE = np.empty(0, np.int32)


@dataclass
class Prepared:
    """What became of one part: its shards, and of the images in them labels and hashes."""

    shards: list[Shard] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    source: list[Hashes] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    moments: Moments | None = None

    def add(self, made: Made, names: Sequence[str]) -> None:
        """Take in a shard that was made of images of these names."""
        self.shards.append(made.shard)
        self.labels.append(made.labels)
        self.names.extend(names[index] for index in made.kept)
        self.source.append(made.source)
        self.left_out.extend(made.left_out)
        self.moments = self.moments + made.moments if self.moments else made.moments

    def hashed(self) -> Iterator[tuple[str, bytes]]:
        """The names of the images, and the hashes of their files."""
        rows = (row.tobytes() for some in self.source for row in some)
        return zip(self.names, rows, strict=True)


def prepare(
    folder: Path, content: Content, choices: Choices, workers: int
) -> tuple[Manifest, dict[str, Prepared]]:
    """Make a store, or finish one.

    Raises DataError for a bad image, DoesNotFit for lack of space, Error when the folder holds
    anything else or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with files.alone(folder, "preparing this store"):
            begin(folder, content, choices)
            parts = _make(folder, content, choices, workers)
            return _finish(folder, content, choices, parts), parts
    except OSError as error:
        raise Error(f"{error.filename or folder}: cannot be written: {error.strerror}") from error


# ------------------------------------------------------------------------------- making


def _make(folder: Path, content: Content, choices: Choices, workers: int) -> dict[str, Prepared]:
    parts = {part: Prepared() for part in PARTS}
    pieces = [(part, piece) for part in PARTS for piece in _pieces(content.parts[part], choices)]
    tasks = (_task(folder, content, choices, part, piece) for part, piece in pieces)
    with Bar("prepare", sum(len(piece) for _, piece in pieces)) as bar:
        for (part, piece), made in zip(pieces, ordered(make, tasks, workers), strict=True):
            parts[part].add(made, content.parts[part].names[piece.start : piece.stop])
            bar.add(len(piece))
    return parts


def _pieces(listing: Listing, choices: Choices) -> Iterator[range]:
    """The indices that go into each shard."""
    step = images_per_shard(choices.size)
    return (range(i, min(i + step, len(listing))) for i in range(0, len(listing), step))


def _task(folder: Path, content: Content, choices: Choices, part: str, piece: range) -> Task:
    number = piece.start // images_per_shard(choices.size)
    indices = np.arange(piece.start, piece.stop)
    return Task(
        path=folder / shard_file(part, number),
        listing=content.parts[part].at(indices),
        size=choices.size,
        pixels=content.pixels,
        skip=choices.skip,
        expected=content.expected[part][indices] if content.expected else None,
    )


def _finish(
    folder: Path, content: Content, choices: Choices, parts: dict[str, Prepared]
) -> Manifest:
    found = Manifest(
        size=choices.size,
        source=content.about,
        hashed=content.expected is not None,
        seed=choices.seed,
        classes=content.classes,
        train=tuple(parts["train"].shards),
        validation=tuple(parts["validation"].shards),
        summary=_summary(folder / SUMMARY, parts),
        left_out=tuple(_left_out(content, parts)),
    )
    manifest.write(found, folder)
    (folder / UNFINISHED).unlink()
    return found


def _left_out(content: Content, parts: dict[str, Prepared]) -> list[LeftOut]:
    missing = [LeftOut(name, "has a hash in the list, but is missing") for name in content.unknown]
    return sorted([*missing, *(each for part in parts.values() for each in part.left_out)])


def _summary(path: Path, parts: dict[str, Prepared]) -> str:
    labels = {part: np.concatenate([*found.labels, _NONE]) for part, found in parts.items()}
    empty = [part for part, found in labels.items() if not len(found)]
    if empty:
        raise DataError(f"{path.parent}: no image is left for {empty[0]}")
    total = parts["train"].moments
    assert total
    statistics = total.statistics()
    arrays: dict[str, tensors.Array] = {**labels}
    arrays |= {"mean": statistics.mean, "covariance": statistics.covariance}
    return tensors.write(path, Tensors(arrays, {}))
