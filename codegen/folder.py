"""A plan on disk: `plan.json`, and beside it `plan/` with its libraries and programs.

Kernels have names of their content, so a new plan's files lie beside the old one's until
`plan.json` is replaced; what only the old one named goes last. Programs and TVM's library have
fixed names: where a build fails, they are put back.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from ir.command import Error
from ir.plan import Plan, encode, folder, write_whole

_OURS = re.compile(
    r"[a-z0-9_-]+-[0-9a-f]{24}\.(so|ir|(sm_\d+[af]?\.)?(cubin|cu))"
    r"|libtvm_runtime\.so|(train|evaluate|accumulate|apply)\.ir"
)

_Made = tuple[Path, bytes | None]
"""A file or folder that was written, and what a file held before."""


def plan_path(out: str) -> Path:
    """`plan.json` in a folder, or the file itself where the name ends in .json.

    Raises Error, before any work is done, when it could not be written.
    """
    path = Path(out) if out.endswith(".json") else Path(out) / "plan.json"
    if path.is_dir():
        raise Error(f"{path}: is a folder, expected a file to write")
    for place in (path.parent, folder(path)):
        nearest = next(p for p in (place, *place.absolute().parents) if p.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK):
            raise Error(f"{nearest}: expected a folder that can be written to")
    return path


def publish(plan: Plan, path: Path, files: Mapping[str, bytes]) -> None:
    """Write a plan and its files, given by their names below `plan/`.

    Raises Error when that cannot be done; the plan that was there before is then still whole.
    """
    directory = folder(path)
    made: list[_Made] = []
    try:
        # New ones first: a disk that fills up does so before any is replaced.
        for name in sorted(files, key=lambda name: (directory / name).exists()):
            _write(directory / name, files[name], made)
        write_whole(path, [encode(plan)])
    except BaseException as error:
        _undo(made)
        if isinstance(error, OSError):
            raise Error(f"{path}: cannot be written: {error.strerror}") from error
        raise
    for stale in _stale(directory, set(files)):
        stale.unlink(missing_ok=True)


def _write(path: Path, content: bytes, made: list[_Made]) -> None:
    """Write a file unless it is there already; add what was there to `made`."""
    before = path.read_bytes() if path.is_file() else None
    if before == content:
        return
    missing = [p for p in path.parents if not p.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    made += ((folder, None) for folder in reversed(missing))
    made.append((path, before))
    write_whole(path, [content])


def _undo(made: list[_Made]) -> None:
    for path, before in reversed(made):
        if before is not None:
            with suppress(OSError):
                write_whole(path, [before])
        elif path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def _stale(directory: Path, names: set[str]) -> Iterator[Path]:
    """Files of an older plan. Others may be the user's own."""
    for path in (
        *directory.glob("*.ir"),
        *directory.glob("lib/*"),
        *directory.glob("kernels/*"),
    ):
        if _OURS.fullmatch(path.name) and str(path.relative_to(directory)) not in names:
            yield path
