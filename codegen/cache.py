"""Compiled kernels on disk: `KEY.so` beside `KEY.json`, which holds its hash.

The folder belongs to the user alone, since what lies in it gets executed. Files are replaced as a
whole, so that several builds may share it; an entry that is damaged counts as missing.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from ir.command import Error
from ir.plan import write_whole


@dataclass(frozen=True)
class Compiled:
    """A shared library that exports `kernel`; each thread needs `scratch` bytes of its own."""

    library: bytes
    scratch: int

    @property
    def sha256(self) -> str:
        """The hash of the library."""
        return hashlib.sha256(self.library).hexdigest()


class Cache:
    """The kernels in one folder. Raises Error when others could write there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
        except OSError as error:
            raise _unusable(folder, str(error.strerror)) from error
        if status.st_uid != os.getuid():
            raise _unusable(folder, "it belongs to another user")
        if status.st_mode & 0o022:
            raise _unusable(folder, f"others may write to it; expected 'chmod 700 {folder}'")

    def get(self, key: str) -> Compiled | None:
        """The kernel of a key, or None if it is missing or damaged."""
        try:
            facts = json.loads((self._folder / f"{key}.json").read_bytes())
            found = Compiled((self._folder / f"{key}.so").read_bytes(), int(facts["scratch"]))
            return found if found.sha256 == facts["sha256"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, kernel: Compiled) -> None:
        """Keep a kernel. Raises Error when it cannot be written."""
        facts = {"scratch": kernel.scratch, "sha256": kernel.sha256}
        try:
            write_whole(self._folder / f"{key}.so", [kernel.library])
            write_whole(self._folder / f"{key}.json", [json.dumps(facts).encode()])
        except OSError as error:
            raise _unusable(self._folder, str(error.strerror)) from error


def default_folder() -> Path:
    """$TANDEM_CACHE, else tandem in $XDG_CACHE_HOME, else ~/.cache/tandem."""
    own = os.environ.get("TANDEM_CACHE")
    common = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(common) / "tandem"


def _unusable(folder: Path, reason: str) -> Error:
    return Error(f"{folder}: cannot hold compiled kernels: {reason} (or build with --no-cache)")
