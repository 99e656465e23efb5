"""The checkpoints of a run: a file for each of the newest, and names for the last and the best.

A name is given after the file is whole, so a run that is killed at any moment finds the last one.
"""

import os
import shutil
from pathlib import Path

from ir.command import Error
from runtime import checkpoint
from runtime.checkpoint import Counters
from runtime.state import States

_STEP, _SUFFIX, _NEW = "step-", ".safetensors", ".new"


class Shelf:
    """The newest `keep` checkpoints in a folder, as step-0000150.safetensors.

    `last` and `best` are further names; a checkpoint that is the best stays as long as it is.
    """

    def __init__(self, last: Path, best: Path, keep: int) -> None:
        self.last, self.best, self._keep = last, best, keep

    def tidy(self, step: int) -> None:
        """Remove what a run that was killed after this step had begun. Raises Error."""
        folder = self.last.parent
        begun = [*folder.glob(f".*{_SUFFIX}.*"), *folder.glob(f"*{_SUFFIX}{_NEW}")]
        _remove([*begun, *self._old(step)])

    def save(self, states: States, counters: Counters) -> None:
        """Write the state after a step; it is the last one now. Raises Error."""
        file = self.last.with_name(f"{_STEP}{counters.step:07}{_SUFFIX}")
        checkpoint.save(file, states, counters)
        _link(file, self.last)
        _remove(self._old(counters.step))

    def prefer(self) -> None:
        """The last one is the best so far. Raises Error."""
        _link(self.last, self.best)

    def _old(self, step: int) -> list[Path]:
        """What is not among the newest up to a step; steps after it are of another run."""
        files = {_number(file): file for file in self.last.parent.glob(f"{_STEP}*{_SUFFIX}")}
        newest = sorted(number for number in files if number <= step)[-self._keep :]
        return [file for number, file in files.items() if number >= 0 and number not in newest]


def _number(file: Path) -> int:
    """The step in a file's name; -1 for a name that is none of ours."""
    digits = file.name.removeprefix(_STEP).removesuffix(_SUFFIX)
    return int(digits) if digits.isdecimal() and digits.isascii() else -1


def _remove(files: list[Path]) -> None:
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise Error(f"{file}: cannot be removed: {error.strerror}") from error


def _link(file: Path, name: Path) -> None:
    """Give a file a second name, whatever had it before. Raises Error."""
    fresh = name.with_name(f"{name.name}{_NEW}")
    try:
        fresh.unlink(missing_ok=True)
        try:
            os.link(file, fresh)
        except OSError:  # a file system without links
            shutil.copyfile(file, fresh)
        fresh.replace(name)
    except OSError as error:
        raise Error(f"{name}: cannot be written: {error.strerror}") from error
    finally:
        # Where both name the same file already, replacing does nothing.
        fresh.unlink(missing_ok=True)
