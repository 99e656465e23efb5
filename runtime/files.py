"""Files of a run, written whole or not at all; what cannot be written or read is named."""

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ir.command import Error
from ir.plan import write_whole


def write(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write the chunks one behind the other, in a folder made if need be.

    Raises Error when that fails; an older file is then as it was.
    """
    left = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        left = "; the one there before is intact" if path.is_file() else ""
        write_whole(path, chunks)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        cure = "; expected more free space" if full else ""
        raise Error(f"{path}: cannot be written: {error.strerror}{cure}{left}") from error


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8. Raises Error as `write`."""
    write(path, [text.encode()])


def write_json(path: Path, facts: dict[str, object]) -> None:
    """Write facts as JSON, sorted by their keys. Raises Error as `write`."""
    write_text(path, json.dumps(facts, indent=1, sort_keys=True) + "\n")


@contextmanager
def alone(folder: Path, doing: str) -> Iterator[None]:
    """Keep other processes that ask for it from a folder; the lock ends with this process.

    Raises Error where one has it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, f"{folder}: another process is {doing}")
        yield
    finally:
        os.close(handle)


def _lock(handle: int, complaint: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Error(complaint) from None


def file_hash(path: Path) -> str:
    """The sha256 of a file. Raises Error when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Error(f"{path}: cannot be read: {error.strerror}") from error
