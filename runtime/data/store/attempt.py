"""What a store is to be made of, and where an attempt at it stands.

An attempt says so in `unfinished.json`, and one that was killed can only go on as it began.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ir.command import Error
from ir.plan import one_line
from runtime.data.sources.hashes import Hashes
from runtime.data.sources.listing import Listing
from runtime.data.store import manifest
from runtime.data.store.manifest import MANIFEST, PARTS
from runtime.fit import DoesNotFit

UNFINISHED = "unfinished.json"
ROOM = 1.01  # of the pixels' bytes: hashes, names and labels are next to nothing


@dataclass(frozen=True)
class Content:
    """What goes into a store: a listing for each part, and the hashes of its files, if known.

    `pixels` is as in a source; `unknown` are names with a hash that the source lacks.
    """

    about: str
    classes: tuple[str, ...]
    pixels: int | None
    parts: dict[str, Listing]
    expected: dict[str, Hashes] | None = None
    unknown: Sequence[str] = ()


@dataclass(frozen=True)
class Choices:
    """What decides the bytes of a store beside its content; `skip` leaves bad images out."""

    size: int
    seed: int
    skip: bool


def begin(folder: Path, content: Content, choices: Choices) -> None:
    """Note what is being made. Raises Error for a folder that holds anything else."""
    facts, note = _facts(content, choices), folder / UNFINISHED
    if note.exists():
        _compare(note, facts)
    elif (folder / MANIFEST).exists():
        raise Error(f"{folder}: holds a finished store; remove it, or choose another place")
    elif any(folder.iterdir()):
        raise Error(f"{folder}: is not empty, and holds no unfinished store")
    for left in folder.glob(".*.*"):
        left.unlink()  # what was being written when an attempt was killed
    _check_room(folder, content, choices.size)
    manifest.write_json(note, facts)


def _facts(content: Content, choices: Choices) -> dict[str, Any]:
    expected = content.expected
    return {
        "version": manifest.VERSION,
        "size": choices.size,
        "seed": choices.seed,
        "on-error": "skip" if choices.skip else "fail",
        "images": {part: content.parts[part].digest for part in PARTS},
        "hashes": {part: sha256(expected[part].tobytes()).hexdigest() for part in PARTS}
        if expected
        else {},
    }


def _compare(note: Path, facts: dict[str, Any]) -> None:
    try:
        before = json.loads(note.read_bytes())
    except (ValueError, RecursionError):
        before = None
    if not isinstance(before, dict):
        raise Error(f"{note}: is no JSON object; remove {note.parent} to begin anew")
    for name, value in facts.items():
        if before.get(name) != value:
            was = f"{before.get(name)}, expected {value}" if name != "images" else "others"
            complaint = f"unfinished, but {name} was {one_line(was)}"
            raise Error(f"{note.parent}: {complaint}; remove it to begin anew")


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
