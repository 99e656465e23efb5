"""A store made from a source: shards in order, then the summary, then the manifest.

What was begun says so in `unfinished.json`. Shards that an attempt before this one finished are
kept if they are whole; the store has the same bytes as one that was made at one go.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from ir.command import DataError, Error
from runtime.data.bar import Bar
from runtime.data.sources.hashes import Hashes
from runtime.data.sources.listing import Listing
from runtime.data.store import manifest, tensors
from runtime.data.store.making import Made, Task, make
from runtime.data.store.manifest import MANIFEST, PARTS, SUMMARY, LeftOut, Manifest
from runtime.data.store.moments import nothing
from runtime.data.store.shard import images_per_shard
from runtime.data.workers import ordered
from runtime.fit import DoesNotFit

UNFINISHED = "unfinished.json"
ROOM = 1.01  # of the pixels' bytes: hashes, names and labels are next to nothing


@dataclass(frozen=True)
class Content:
    """What goes into a store: a listing for each part, and the hashes of its files, if known."""

    classes: tuple[str, ...]
    parts: dict[str, Listing]
    expected: dict[str, Hashes] | None
    pixels: int | None


@dataclass(frozen=True)
class Choices:
    """What decides the bytes of a store beside its content; `skip` leaves bad images out."""

    source: str
    size: int
    seed: int
    skip: bool


def prepare(
    folder: Path, content: Content, choices: Choices, workers: int
) -> tuple[Manifest, list[tuple[str, bytes]]]:
    """Make a store, or finish one. Returns its manifest, and the names and hashes of its sources.

    Raises DataError for a bad image, DoesNotFit for lack of space, Error when the folder holds
    anything else or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            _begin(folder, content, choices)
            made = _shards(folder, content, choices, workers)
            return _finish(folder, content, choices, made), _sources(made)
    except OSError as error:
        raise Error(f"{error.filename or folder}: cannot be written: {error.strerror}") from error


# ---------------------------------------------------------------------------- beginning


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from the same folder; the lock ends with this process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Error(f"{folder}: another process is preparing this store") from None
    finally:
        os.close(handle)


def _begin(folder: Path, content: Content, choices: Choices) -> None:
    """Note what is being made. Raises Error for a folder that holds anything else."""
    facts, note = _facts(content, choices), folder / UNFINISHED
    if note.exists():
        _compare(note, facts)
    elif (folder / MANIFEST).exists():
        raise Error(f"{folder}: holds a finished store; remove it, or choose another place")
    elif any(folder.iterdir()):
        raise Error(f"{folder}: is not empty, and holds no unfinished store")
    for left in folder.glob(".*"):
        left.unlink()  # what was being written when an attempt was killed
    _check_room(folder, content, choices.size)
    manifest.write_json(note, facts)


def _facts(content: Content, choices: Choices) -> dict[str, Any]:
    expected = content.expected
    return {
        "version": manifest.VERSION,
        "source": choices.source,
        "size": choices.size,
        "seed": choices.seed,
        "on-error": "skip" if choices.skip else "fail",
        "images": {part: content.parts[part].digest for part in PARTS},
        "hashes": {part: tensors.array_hash(expected[part]) for part in PARTS} if expected else {},
    }


def _compare(note: Path, facts: dict[str, Any]) -> None:
    try:
        before = json.loads(note.read_bytes())
    except ValueError:
        before = {}
    for name, value in facts.items():
        if before.get(name) != value:
            was = f"{before.get(name)}, expected {value}" if name != "images" else "others"
            raise Error(f"{note.parent}: unfinished, but {name} was {was}; remove it to begin anew")


def _check_room(folder: Path, content: Content, size: int) -> None:
    images = sum(len(listing) for listing in content.parts.values())
    there = sum(path.stat().st_size for path in folder.iterdir())
    needed = ROOM * images * 3 * size * size - there
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DoesNotFit(
            f"{folder}: {images:,} images of {size}x{size} need {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free"
        )


# ------------------------------------------------------------------------------- making


def _shards(
    folder: Path, content: Content, choices: Choices, workers: int
) -> dict[str, list[Made]]:
    tasks = [(part, piece) for part in PARTS for piece in _pieces(content, part, choices.size)]
    raise NotImplementedError(tasks)
