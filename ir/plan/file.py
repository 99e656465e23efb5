"""A plan as a file: JSON with sorted keys and one step, state or kernel per line."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ir.command import Error
from ir.plan import laws
from ir.plan.records import VERSION, Kernel, Plan, Program

# What is broken into lines to which depth; all below stands on one line.
_DEPTH = {"programs": 2}

_PARTS: dict[str, Any] = {
    "kernels": Kernel,
    "programs": Program,
    "target": str,
    "versions": str,
    "library": str,
}


def folder(path: Path) -> Path:
    """Where the files of a plan lie: `plan/` beside `plan.json`."""
    return path.with_suffix("")


# -------------------------------------------------------------------------------- write


def write(plan: Plan, path: Path) -> None:
    """Write the file whole or not at all. Raises Error when that cannot be done."""
    try:
        write_whole(path, [encode(plan)])
    except OSError as error:
        raise Error(f"{path}: cannot be written: {error.strerror}") from error


def write_whole(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Put the bytes into a file such that every reader sees the old or the new one, no mixture.

    What is no file, such as /dev/stdout, is written to; of a link, what it leads to is replaced.
    Raises OSError, with the old file as it was and nothing left behind.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            device.writelines(chunks)
        return
    path = path.resolve()
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Make a rename last through a loss of power."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def encode(plan: Plan) -> bytes:
    """The text of a plan; the same plan gives the same bytes."""
    return ("".join(_lines(msgspec.to_builtins(plan), 1, "")) + "\n").encode()


def _lines(value: Any, depth: int, indent: str) -> Iterator[str]:
    if depth < 0 or not isinstance(value, dict | list | tuple) or not value:
        yield json.dumps(value, sort_keys=True)
        return
    inner = indent + " "
    if isinstance(value, dict):
        opening, closing = "{}"
        items = [(f"{json.dumps(k)}: ", _DEPTH.get(k, depth - 1), value[k]) for k in sorted(value)]
    else:
        opening, closing = "[]"
        items = [("", depth - 1, item) for item in value]
    yield opening
    for number, (key, deeper, item) in enumerate(items):
        yield f"{',' if number else ''}\n{inner}{key}"
        yield from _lines(item, deeper, inner)
    yield f"\n{indent}{closing}"


# --------------------------------------------------------------------------------- read


def read(path: Path, *, files: bool = True) -> Plan:
    """The plan in a file, all its laws kept; those about its files unless `files` is False.

    Raises Error naming the file and the JSON path of the first fault.
    """
    try:
        raw = _parse(path.read_bytes())
        plan = _typed(raw)
    except OSError as error:
        raise Error(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Error(f"{path}: {one_line(str(error))}") from error
    check(plan, folder(path) if files else None, str(path))
    return plan


def check(plan: Plan, directory: Path | None, name: str = "plan.json") -> None:
    """Raise Error for the first law that the plan breaks; files lie in `directory`, if any."""
    complaint = next(laws.complaints(plan, directory), None)
    if complaint is not None:
        raise Error(f"{name}: {one_line(complaint)}")


def one_line(text: str) -> str:
    """The text with what cannot be printed escaped: names in files may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8; expected JSON") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"not JSON: {error.msg} at {where}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ValueError(f"key '{twice}' stands twice in one object, expected once")
    return dict(pairs)


def _constant(name: str) -> Any:
    raise ValueError(f"not JSON: got {name}, expected a finite number")


def _typed(raw: Any) -> Plan:
    version = raw.get("version") if isinstance(raw, dict) else VERSION
    if isinstance(version, int) and version != VERSION:
        raise ValueError(f"$.version: got {version}, expected {VERSION}")
    try:
        return msgspec.convert(raw, Plan)
    except msgspec.ValidationError as error:
        message = str(error)
        if found := re.search(r"`\$\.(\w+)\[\.\.\.\]", message):
            message = _within(raw[found[1]], found[1]) or message
        raise ValueError(_worded(message)) from error


def _within(parts: dict[str, Any], field: str) -> str | None:
    """The same complaint with the key, which msgspec leaves out."""
    for key, part in parts.items():
        try:
            msgspec.convert(part, _PARTS[field])
        except msgspec.ValidationError as error:
            complaint, _, place = str(error).partition(" - at `$")
            return f"{complaint} - at `$.{field}.{key}{place.rstrip('`')}`"
    return None


def _worded(message: str) -> str:
    """From msgspec's "Expected `int`, got `str` - at `$.x`" to "$.x: got str, expected int"."""
    complaint, _, place = message.partition(" - at ")
    if found := re.fullmatch(r"Expected (.+), got (.+)", complaint):
        complaint = f"got {found[2]}, expected {found[1]}"
    return f"{place or '$'}: {complaint}".replace("`", "")
