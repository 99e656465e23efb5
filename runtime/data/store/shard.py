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

import msgspec
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


class _Facts(msgspec.Struct):
    names: list[str]
    left_out: list[tuple[str, str]]
    sha256: str


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
    try:
        facts = msgspec.convert(found.facts, _Facts)
    except msgspec.ValidationError as error:
        return f"its facts are none of a shard: {one_line(str(error))}"
    if wrong := _unlike(found.arrays, len(facts.names)):
        return f"is no shard of {len(facts.names)} images: {wrong[0]} are missing or others"
    if _hash(found.arrays, {name: found.facts[name] for name in _FACTS}) != facts.sha256:
        return "labels, hashes or names are damaged"
    return _damage(found.arrays, facts.names)


def _unlike(arrays: Mapping[str, Array], count: int) -> list[str]:
    """What a shard of so many images must have, but in this type and shape it is not there."""
    side = arrays["images"].shape[-1:] if "images" in arrays else ()
    expected: dict[str, tuple[type, tuple[int, ...]]] = {
        "images": (np.uint8, (count, 3, *side, *side)),
        "labels": (np.int32, (count,)),
        "sha256": (np.uint8, (count, 32)),
        "source": (np.uint8, (count, 32)),
    }
    found = {name: (array.dtype.type, array.shape) for name, array in arrays.items()}
    return [name for name, form in expected.items() if found.get(name) != form]


def _damage(arrays: Mapping[str, Array], names: list[str]) -> str | None:
    """Which images do not have their hash."""
    wrong = np.flatnonzero((image_hashes(arrays["images"]) != arrays["sha256"]).any(axis=1))
    if not len(wrong):
        return None
    first = ", ".join(one_line(names[index]) for index in wrong[:5])
    return f"{len(wrong)} damaged images: {first}{', ...' * (len(wrong) > 5)}"


def _hash(arrays: Mapping[str, Array], facts: dict[str, Any]) -> str:
    """Of everything but the images, of which it has the hashes."""
    text = json.dumps({name: facts[name] for name in _FACTS}, sort_keys=True).encode()
    return sha256(b"".join([text, *(arrays[name].tobytes() for name in _SMALL)])).hexdigest()
