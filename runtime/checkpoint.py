"""Checkpoints: safetensors files of whole logical tensors, so any split of the model can read them.

The file holds tensors, and as metadata the counters from which all randomness follows. It is
written whole or not at all, and read only if every tensor is the one expected.
"""

import errno
import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from ir.command import Error
from ir.plan import one_line, write_whole
from runtime.numerics import NumericsError, statistics
from runtime.packing import Array
from runtime.rates import Errors
from runtime.state import States

_NAMES = {"float32": "F32", "uint8": "U8", "int32": "I32", "uint32": "U32"}
_COUNTS = ("step", "epoch", "seed")
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_MOST_HEADER = 100_000_000  # bytes; the format's own limit


@dataclass(frozen=True)
class Counters:
    """How far a run has come: steps and epochs done, and the seed it was started with.

    `errors` are the validation errors after each epoch, from which schedules follow.
    """

    step: int
    epoch: int
    seed: int
    errors: Errors = ()


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor in the header of a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


# ------------------------------------------------------------------------------- write


def save(path: Path, states: States, counters: Counters) -> None:
    """Write every state. Raises Error when that fails; an older file is then as it was.

    Raises NumericsError, in the same way, when a state holds NaN or infinity.
    """
    metadata = {key: str(value) for key, value in asdict(counters).items()}
    metadata["errors"] = json.dumps(counters.errors)
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in states.names:
        begin, end = end, end + _size(states, name)
        header[name] = {
            "dtype": _NAMES[states.dtype(name).name],
            "shape": states.shape(name),
            "data_offsets": (begin, end),
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = (_bytes(_sound(states, name)) for name in states.names)
    _write(path, _chain(struct.pack("<Q", len(text)) + text, data))


def write_record(path: Path, facts: dict[str, object]) -> None:
    """Write what is known of a run beside its checkpoint, as JSON. Raises Error as `save`."""
    write_text(path, json.dumps(facts, indent=1, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises Error as `save`."""
    _write(path, iter([text.encode()]))


def plan_hash(path: Path) -> str:
    """The sha256 of a plan's file. Raises Error when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise Error(f"{path}: cannot be read: {error.strerror}") from error


def _sound(states: States, name: str) -> Array:
    value = states.read(name)
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise NumericsError(f"{name} is not to be saved: {statistics(value)}")
    return value


def _bytes(array: Array) -> memoryview:
    """The memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def _size(states: States, name: str) -> int:
    return prod(states.shape(name)) * states.dtype(name).itemsize


def _chain(first: bytes, rest: Iterator[memoryview]) -> Iterator[bytes | memoryview]:
    yield first
    yield from rest


def _write(path: Path, chunks: Iterator[bytes | memoryview]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, chunks)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        left = "; the one there before is intact" if path.exists() else ""
        cure = "; expected more free space" if full else ""
        raise Error(f"{path}: cannot be written: {error.strerror}{cure}{left}") from error


# -------------------------------------------------------------------------------- read


def load(path: Path, states: States, *, parameters_only: bool = False) -> Counters:
    """Set the states from a file.

    With `parameters_only` momenta and the like stay as they are and the counters are 0; the file
    need not have them. Raises Error, with nothing set, unless the file holds what it must and
    nothing that the plan does not know.
    """
    try:
        with path.open("rb") as file:
            header, start = _header(file)
            metadata = header.pop("__metadata__", None)
            counters = Counters(0, 0, 0) if parameters_only else _counters(metadata)
            entries = {name: _entry(name, raw) for name, raw in header.items()}
            wanted = sorted(states.parameters if parameters_only else states.names)
            _check(entries, wanted, states, path.stat().st_size - start)
            for name in wanted:
                states.write(name, _tensor(file, start, entries[name], states, name))
    except OSError as error:
        raise Error(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Error(f"{path}: {one_line(str(error))}") from error
    return counters


def _header(file: BufferedReader) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors begin."""
    prefix = file.read(8)
    size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= size <= _MOST_HEADER:
        raise ValueError("no safetensors header, expected its length in 8 bytes")
    text = file.read(size)
    if len(text) < size:
        raise ValueError(f"cut in the header: {len(text)} bytes of it, expected {size}")
    try:
        header = json.loads(text.decode(), object_pairs_hook=_distinct)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError("the header is not JSON, expected a safetensors file") from error
    if not isinstance(header, dict):
        raise ValueError("the header is no JSON object, expected a safetensors file")
    return header, 8 + size


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"tensor '{name}' stands twice in the header, expected once")
        seen.add(name)
    return dict(pairs)


def _counters(metadata: Any) -> Counters:
    found = metadata if isinstance(metadata, dict) else {}
    for name in _COUNTS:
        value = found.get(name)
        if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20):
            raise ValueError(f"metadata '{name}' is {value!r}, expected a count")
    counts = {name: int(found[name]) for name in _COUNTS}
    return Counters(**counts, errors=_errors(found.get("errors")))


def _errors(text: Any) -> Errors:
    try:
        return msgspec.json.decode(text, type=tuple[_Share, ...])
    except (msgspec.MsgspecError, TypeError) as error:
        raise ValueError(f"metadata 'errors' is {text!r}, expected a list of shares") from error


def _entry(name: str, raw: Any) -> _Entry:
    try:
        return msgspec.convert(raw, _Entry)
    except msgspec.ValidationError as error:
        complaint = str(error).replace("`", "")
        raise ValueError(f"tensor '{name}': {complaint} in the header") from error


def _check(entries: dict[str, _Entry], wanted: list[str], states: States, size: int) -> None:
    """That the file, with `size` bytes after its header, holds states only, all those wanted."""
    if missing := sorted(set(wanted) - set(entries)):
        raise ValueError(f"tensor '{missing[0]}' is missing, expected as in the plan")
    if extra := sorted(set(entries) - set(states.names)):
        raise ValueError(f"tensor '{extra[0]}' is not in the plan, expected only its states")
    for name, entry in entries.items():
        dtype = _NAMES[states.dtype(name).name]
        if entry.dtype != dtype:
            raise ValueError(f"tensor '{name}' is {entry.dtype}, expected {dtype}")
        if entry.shape != states.shape(name):
            got, expected = list(entry.shape), list(states.shape(name))
            raise ValueError(f"tensor '{name}' has shape {got}, expected {expected}")
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, end = end, end + _size(states, name)
        if entry.data_offsets != (begin, end):
            got = list(entry.data_offsets)
            raise ValueError(f"tensor '{name}' has data_offsets {got}, expected {[begin, end]}")
        if end > size:
            raise ValueError(f"cut within tensor '{name}': {size} bytes, expected {end} or more")
    if end != size:
        raise ValueError(f"{size} bytes of tensors, expected {end}")


def _tensor(file: BufferedReader, start: int, entry: _Entry, states: States, name: str) -> Array:
    file.seek(start + entry.data_offsets[0])
    value: Array = np.empty(entry.shape, states.dtype(name))
    if file.readinto(_bytes(value)) != value.nbytes:
        raise ValueError(f"cut within tensor '{name}'")
    return value
