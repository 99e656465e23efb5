"""`store.json`: what a store consists of. It is written last, so a store that has it is finished.

Beside it lie the shards, and `summary.safetensors` with all labels, the mean image and the colour
covariance of the training part.
"""

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from ir.command import DataError
from ir.plan import one_line, write_whole

VERSION = 1
MANIFEST, SUMMARY = "store.json", "summary.safetensors"
PARTS = ("train", "validation")


class Shard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of `count` images of one part, and the sha256 of the whole file."""

    file: str
    count: int
    sha256: str


class LeftOut(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """An image of the source that is not in the store, and why."""

    name: str
    reason: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Images are u8[3,size,size]; labels are indices of `classes`; `train` was shuffled by `seed`.

    `hashed` says whether the source's files were compared with hashes; `summary` is a sha256.
    """

    version: int = VERSION
    size: int
    source: str
    hashed: bool
    seed: int
    classes: tuple[str, ...]
    train: tuple[Shard, ...]
    validation: tuple[Shard, ...]
    summary: str
    left_out: tuple[LeftOut, ...]

    def count(self, part: str) -> int:
        """The number of images in a part."""
        return sum(shard.count for shard in self.shards(part))

    def shards(self, part: str) -> tuple[Shard, ...]:
        """The files of a part, in order."""
        return self.train if part == "train" else self.validation


def shard_file(part: str, number: int) -> str:
    """The name of a shard."""
    return f"{part}-{number:05}.safetensors"


def write(manifest: Manifest, folder: Path) -> None:
    """Write `store.json` whole or not at all. Raises OSError."""
    write_json(folder / MANIFEST, msgspec.to_builtins(manifest))


def write_json(path: Path, value: Any) -> None:
    """Write JSON that reads well, the same value as the same bytes. Raises OSError."""
    write_whole(path, [json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"])


def read(folder: Path) -> Manifest:
    """The manifest of a finished store. Raises DataError for anything else."""
    path = folder / MANIFEST
    try:
        found = msgspec.convert(json.loads(path.read_bytes()), Manifest)
    except FileNotFoundError:
        raise DataError(f"{folder}: has no {MANIFEST}, so it is no finished store") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no manifest: {one_line(str(error))}") from error
    complaint = _complaint(found)
    if complaint:
        raise DataError(f"{path}: {complaint}")
    return found


def _complaint(found: Manifest) -> str | None:
    if found.version != VERSION:
        return f"version {found.version}, expected {VERSION}"
    if found.size < 1 or not found.classes:
        return f"size {found.size} and {len(found.classes)} classes, expected at least 1 of each"
    for part in PARTS:
        for number, shard in enumerate(found.shards(part)):
            # Also keeps a store from naming files of others.
            if shard.file != shard_file(part, number) or shard.count < 0:
                return f"{part}[{number}] is {shard.file!r} with {shard.count} images"
            if not re.fullmatch("[0-9a-f]{64}", shard.sha256):
                return f"{part}[{number}].sha256 is no sha256"
        if not found.count(part):
            return f"{part} has no images"
    return None
