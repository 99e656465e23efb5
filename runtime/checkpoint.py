"""Checkpoints: safetensors files of whole logical tensors, so any split of the model can read them.

The file holds tensors, and as metadata the counters from which all randomness follows. It is
written whole or not at all, and read only if every tensor is the one expected.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from io import BufferedReader
from itertools import chain
from math import prod
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from ir.command import Error
from ir.plan import one_line
from runtime import files, header
from runtime.header import Entry
from runtime.numerics import NumericsError, statistics
from runtime.packing import Array
from runtime.rates import Errors
from runtime.state import SEEDS, States

_NAMES = {"float32": "F32", "uint8": "U8", "int32": "I32", "uint32": "U32"}
_COUNTS = ("step", "epoch", "seed")
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


@dataclass(frozen=True)
class Counters:
    """How far a run has come: steps and epochs done, and the seed it was started with.

    `errors` are the validation errors after each epoch, from which schedules follow.
    """

    step: int
    epoch: int
    seed: int
    errors: Errors = ()


# ------------------------------------------------------------------------------- write


def save(path: Path, states: States, counters: Counters) -> None:
    """Write every state. Raises Error when that fails; an older file is then as it was.

    Raises NumericsError, in the same way, when a state holds NaN or infinity.
    """
    metadata = {key: str(value) for key, value in asdict(counters).items()}
    metadata["errors"] = json.dumps(counters.errors)
    entries: dict[str, Entry] = {}
    end = 0
    for name in states.names:
        entries[name] = _expected(states, name, end)
        _, end = entries[name].data_offsets
    data = (_bytes(_sound(states, name)) for name in states.names)
    files.write(path, chain([header.encode(entries, metadata)], data))


def _expected(states: States, name: str, begin: int) -> Entry:
    """A state as it stands in a header, if its bytes begin there."""
    shape, dtype = states.shape(name), states.dtype(name)
    return Entry(_NAMES[dtype.name], shape, (begin, begin + prod(shape) * dtype.itemsize))


def _sound(states: States, name: str) -> Array:
    value = states.read(name)
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise NumericsError(f"{name} is not to be saved: {statistics(value)}")
    return value


def _bytes(array: Array) -> memoryview:
    """The memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


# -------------------------------------------------------------------------------- read


def load(
    path: Path, states: States, *, parameters_only: bool = False, fresh: Sequence[str] = ()
) -> Counters:
    """Set the states from a file.

    With `parameters_only` momenta and the like stay as they are and the counters are 0, whatever
    the file has of them. What is named like one of `fresh` (`*.bias`) stays as it is, too. Raises
    Error, with nothing set, unless the file holds what it must and nothing that the plan does not
    know.
    """
    names = states.parameters if parameters_only else states.names
    wanted = sorted(name for name in names if not _like(name, fresh))
    left = [*fresh, *(f"{name}.*" for name in states.parameters if parameters_only)]
    try:
        with path.open("rb") as file:
            found = header.read(file)
            counters = Counters(0, 0, 0) if parameters_only else _counters(found.metadata)
            others = {name for name in found.tensors if _like(name, left)}
            _check_names(found.tensors, wanted, {*states.names, *others})
            _check_places(found.tensors, wanted, states, path.stat().st_size - found.size)
            for name in wanted:
                file.seek(found.size + found.tensors[name].data_offsets[0])
                states.write(name, _tensor(file, states, name))
    except OSError as error:
        raise Error(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Error(f"{path}: {one_line(str(error))}") from error
    return counters


def _like(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _counters(metadata: Any) -> Counters:
    found = metadata if isinstance(metadata, dict) else {}
    for name in _COUNTS:
        value = found.get(name)
        if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20):
            raise ValueError(f"metadata '{name}' is {value!r}, expected a count")
    counts = {name: int(found[name]) for name in _COUNTS}
    if counts["seed"] >= SEEDS:
        raise ValueError(f"metadata 'seed' is {counts['seed']}, expected one below {SEEDS}")
    return Counters(**counts, errors=_errors(found.get("errors")))


def _errors(text: Any) -> Errors:
    try:
        return msgspec.json.decode(text, type=tuple[_Share, ...])
    except (msgspec.MsgspecError, TypeError) as error:
        raise ValueError(f"metadata 'errors' is {text!r}, expected a list of shares") from error


def _check_names(found: Collection[str], wanted: Collection[str], known: Collection[str]) -> None:
    if missing := sorted(set(wanted) - set(found)):
        raise ValueError(f"tensor '{missing[0]}' is missing, expected as in the plan")
    if extra := sorted(set(found) - set(known)):
        raise ValueError(f"tensor '{extra[0]}' is not in the plan, expected only its states")


def _check_places(
    entries: Mapping[str, Entry], wanted: Collection[str], states: States, size: int
) -> None:
    """That those wanted are as expected, and that all together fill `size` bytes."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, (_, end) = end, entry.data_offsets
        if name in wanted:
            _compare(name, entry, _expected(states, name, begin))
        else:
            _compare(name, entry, Entry(entry.dtype, entry.shape, (begin, max(begin, end))))
        if end > size:
            raise ValueError(f"cut within tensor '{name}': {size} bytes, expected {end} or more")
    if end != size:
        raise ValueError(f"{size} bytes of tensors, expected {end}")


def _compare(name: str, got: Entry, expected: Entry) -> None:
    if got.dtype != expected.dtype:
        raise ValueError(f"tensor '{name}' is {got.dtype}, expected {expected.dtype}")
    for key in ("shape", "data_offsets"):
        found, right = list(getattr(got, key)), list(getattr(expected, key))
        if found != right:
            raise ValueError(f"tensor '{name}' has {key} {found}, expected {right}")


def _tensor(file: BufferedReader, states: States, name: str) -> Array:
    """A state, from where the file stands."""
    value: Array = np.empty(states.shape(name), states.dtype(name))
    if file.readinto(_bytes(value)) != value.nbytes:
        raise ValueError(f"cut within tensor '{name}'")
    return value
