"""One shard: some images of one part, with all it takes to vouch for itself.

A file of tensors: images u8[n,3,size,size], labels i32[n], and the sha256 of each image and of the
file it came from, both u8[n,32]. Its facts are the images' names, what was left out among them and
why, and a hash of everything but the images.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ir.command import DataError
from ir.plan import one_line
from runtime.data.dataset import Images
from runtime.data.sources.hashes import Hashes
from runtime.data.store import tensors
from runtime.data.store.tensors import Array, Tensors

BYTES = 48 * 2**20  # of the images in a shard, at most
MOST = 4096  # images in a shard

_SMALL = ("labels", "sha256", "source")
_FACTS = ("names", "left_out")


def images_per_shard(size: int) -> int:
    """How many images of a side go into one shard."""
    return max(1, min(MOST, BYTES // (3 * size * size)))


def signed(arrays: dict[str, Array], facts: dict[str, Any]) -> Tensors:
    """A shard of `images`, `labels` and `source`, with the hashes it needs."""
    arrays = arrays | {"sha256": image_hashes(arrays["images"])}
    return Tensors(arrays, facts | {"sha256": _hash(arrays, facts)})


def mapped(path: Path) -> Tensors:
    """The shard in a file. Raises DataError unless its contents are those that were written."""
    found = tensors.mapped(path)
    complaint = _complaint(found)
    if complaint:
        raise DataError(f"{path}: {complaint}")
    return found


def image_hashes(images: Images) -> Hashes:
    """The sha256 of each image's pixels, as u8[n,32]."""
    found = b"".join(sha256(np.ascontiguousarray(image).data).digest() for image in images)
    return np.frombuffer(found, np.uint8).reshape(-1, 32)


def _complaint(found: Tensors) -> str | None:
    arrays, facts = found.arrays, found.facts
    missing = [name for name in ("images", *_SMALL) if name not in arrays]
    missing += [name for name in (*_FACTS, "sha256") if name not in facts]
    if missing:
        return f"is no shard: it lacks {', '.join(missing)}"
    if _hash(arrays, {name: facts[name] for name in _FACTS}) != facts["sha256"]:
        return "labels, hashes or names are damaged"
    wrong = np.flatnonzero((image_hashes(arrays["images"]) != arrays["sha256"]).any(axis=1))
    if len(wrong):
        names = ", ".join(one_line(facts["names"][index]) for index in wrong[:5])
        return f"{len(wrong)} damaged images: {names}{', ...' * (len(wrong) > 5)}"
    return None


def _hash(arrays: Mapping[str, Array], facts: dict[str, Any]) -> str:
    """Of everything but the images, of which it has the hashes."""
    text = json.dumps({name: facts[name] for name in _FACTS}, sort_keys=True).encode()
    return sha256(b"".join([text, *(arrays[name].tobytes() for name in _SMALL)])).hexdigest()
