"""Files of tensors that are mapped, not read: safetensors, with facts of ours as metadata."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ir.command import DataError
from ir.plan import one_line, write_whole
from runtime.header import Entry, encode

Array = npt.NDArray[Any]

_DTYPES = {"U8": np.uint8, "I32": np.int32, "F32": np.float32, "F64": np.float64}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_MOST_HEADER = 2**24  # bytes


@dataclass(frozen=True)
class Tensors:
    """What a file holds: arrays by name, mapped read-only, and facts as JSON.

    `starts` are the places in the file, in bytes, where arrays that were mapped begin.
    """

    arrays: Mapping[str, Array]
    facts: Any
    starts: Mapping[str, int] = field(default_factory=dict)


def write(path: Path, content: Tensors) -> str:
    """Write a file whole or not at all; the same content gives the same bytes.

    Returns its sha256. Raises OSError.
    """
    # Wide types first, so that all lie aligned.
    ordered = sorted(content.arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    digest = sha256()

    def chunks() -> Iterator[bytes | memoryview]:
        yield _header(ordered, content.facts)
        for _, array in ordered:
            yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data

    def hashed() -> Iterator[bytes | memoryview]:
        for chunk in chunks():
            digest.update(chunk)
            yield chunk

    write_whole(path, hashed())
    return digest.hexdigest()


def _header(ordered: list[tuple[str, Array]], facts: Any) -> bytes:
    entries, end = {}, 0
    for name, array in ordered:
        begin, end = end, end + array.nbytes
        entries[name] = Entry(_NAMES[array.dtype], array.shape, (begin, end))
    return encode(entries, {"facts": json.dumps(facts, sort_keys=True)})


def mapped(path: Path) -> Tensors:
    """Raises DataError for a file that is not as `write` makes them."""
    try:
        memory: Array = np.memmap(path, np.uint8, "r")
        length = int.from_bytes(memory[:8].tobytes(), "little")
        if not 0 < length <= min(_MOST_HEADER, len(memory) - 8):
            raise ValueError("the header is cut")
        header = json.loads(memory[8 : 8 + length].tobytes())
        facts = json.loads(header.pop("__metadata__")["facts"])
        entries = msgspec.convert(header, dict[str, Entry])
        starts = {name: 8 + length + entry.data_offsets[0] for name, entry in entries.items()}
        return Tensors(_arrays(entries, memory[8 + length :]), facts, starts)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = one_line(str(error))
        raise DataError(f"{path}: is no whole safetensors file of ours: {reason}") from error


def file_hash(path: Path) -> str:
    """The sha256 of a file. Raises DataError."""
    found = sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                found.update(chunk)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return found.hexdigest()


def _arrays(entries: dict[str, Entry], data: Array) -> dict[str, Array]:
    found, end = {}, 0
    for name, entry in entries.items():
        dtype = np.dtype(_DTYPES[entry.dtype])
        begin, stop = entry.data_offsets
        if begin != end or stop - begin != prod(entry.shape) * dtype.itemsize:
            raise ValueError(f"the offsets of {name} do not fit")
        end = stop
        found[name] = data[begin:stop].view(dtype).reshape(entry.shape)
    if end != len(data):
        raise ValueError(f"{len(data)} bytes of data, expected {end}")
    return found
