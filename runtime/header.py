"""The header of a safetensors file: what each tensor is and where it lies, and metadata.

The file has the header's length in 8 bytes, the header as JSON, then the tensors.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import msgspec

_MOST = 100_000_000  # bytes; the format's own limit
_METADATA = "__metadata__"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor: its type, as F32, its shape, and where its bytes begin and end."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@dataclass(frozen=True)
class Header:
    """Tensors by name, and what was found as metadata; `size` in bytes, with its length's own."""

    tensors: Mapping[str, Entry]
    metadata: Any
    size: int


def encode(tensors: Mapping[str, Entry], metadata: Mapping[str, str]) -> bytes:
    """The beginning of a file, up to the first tensor."""
    facts = {_METADATA: dict(metadata), **{n: msgspec.to_builtins(e) for n, e in tensors.items()}}
    text = json.dumps(facts).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def read(file: BufferedReader) -> Header:
    """The header at the beginning of a file. Raises ValueError, RecursionError, OSError."""
    prefix = file.read(8)
    size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= size <= _MOST:
        raise ValueError("no safetensors header, expected its length in 8 bytes")
    text = file.read(size)
    if len(text) < size:
        raise ValueError(f"cut in the header: {len(text)} bytes of it, expected {size}")
    facts = _decoded(text)
    metadata = facts.pop(_METADATA, None)
    return Header({name: _entry(name, raw) for name, raw in facts.items()}, metadata, 8 + size)


def _decoded(text: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(text.decode(), object_pairs_hook=_distinct)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError("the header is not JSON, expected a safetensors file") from error
    if not isinstance(facts, dict):
        raise ValueError("the header is no JSON object, expected a safetensors file")
    return facts


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"tensor '{name}' stands twice in the header, expected once")
        seen.add(name)
    return dict(pairs)


def _entry(name: str, raw: Any) -> Entry:
    try:
        return msgspec.convert(raw, Entry)
    except msgspec.ValidationError as error:
        complaint = str(error).replace("`", "")
        raise ValueError(f"tensor '{name}': {complaint} in the header") from error
