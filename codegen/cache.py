"""Compiled kernels on disk: their files, such as `KEY.so`, beside `KEY.json` with their hashes.

The folder belongs to the user alone, since what lies in it gets executed. Files are replaced as a
whole, so that several builds may share it; an entry that is damaged counts as missing.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ir.command import Error
from ir.plan import Launch, Record, Work, write_whole


class Variant(Record, frozen=True):
    """What a plan says of a binary for one architecture."""

    launches: tuple[Launch, ...]
    scratch: int


@dataclass(frozen=True)
class Compiled:
    """A kernel as files by their suffixes.

    For a CPU `.so`, which exports `kernel`; for GPUs a binary and its source for each architecture,
    such as `.sm_80.cubin` and `.sm_80.cu`, and its `variants`. The rest is as in a plan; `work`
    only where it can be counted. `tuned` says whether it has the sizes that its target asks for:
    of what was measured for kernels of another time, some may no longer fit.
    """

    files: Mapping[str, bytes]
    scratch: int = 0
    per_thread: int = 0
    variants: Mapping[str, Variant] = field(default_factory=dict)
    work: Work | None = None
    tuned: bool = True

    @property
    def sha256(self) -> dict[str, str]:
        """The hash of each file."""
        return {s: hashlib.sha256(content).hexdigest() for s, content in self.files.items()}


class _Facts(Record, frozen=True):
    """What `KEY.json` says."""

    sha256: dict[str, str]
    scratch: int
    per_thread: int
    variants: dict[str, Variant]
    work: Work | None
    tuned: bool


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
            facts = msgspec.json.decode(self._path(key, ".json").read_bytes(), type=_Facts)
            files = {suffix: self._path(key, suffix).read_bytes() for suffix in facts.sha256}
        except (OSError, ValueError, msgspec.DecodeError):
            return None
        rest = (facts.scratch, facts.per_thread, facts.variants, facts.work, facts.tuned)
        found = Compiled(files, *rest)
        return found if files and found.sha256 == facts.sha256 else None

    def put(self, key: str, kernel: Compiled) -> None:
        """Keep a kernel. Raises Error when it cannot be written."""
        variants, rest = dict(kernel.variants), (kernel.work, kernel.tuned)
        facts = _Facts(kernel.sha256, kernel.scratch, kernel.per_thread, variants, *rest)
        try:
            for suffix, content in kernel.files.items():
                write_whole(self._path(key, suffix), [content])
            write_whole(self._path(key, ".json"), [msgspec.json.encode(facts)])
        except OSError as error:
            raise _unusable(self._folder, str(error.strerror)) from error

    def _path(self, key: str, suffix: str) -> Path:
        return self._folder / f"{key}{suffix}"


def default_folder() -> Path:
    """$TANDEM_CACHE, else tandem in $XDG_CACHE_HOME, else ~/.cache/tandem."""
    own = os.environ.get("TANDEM_CACHE")
    common = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(common) / "tandem"


def _unusable(folder: Path, reason: str) -> Error:
    return Error(f"{folder}: cannot hold compiled kernels: {reason} (or build with --no-cache)")
