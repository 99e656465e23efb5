"""The log of a run: one JSON object per line, for each step and for each validation."""

import json
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from types import TracebackType

import msgspec

from ir.command import DataError, Error

Record = dict[str, int | float]

_NONE: Record = {"step": 0}
_DECODER = msgspec.json.Decoder(Record)


class Log:
    """Appends records to a file; those of steps after `keep` are dropped first.

    `best` is the highest validation accuracy, -1 before any; `best_step` when it came first.
    """

    def __init__(self, path: Path, keep: int) -> None:
        """Raises Error where the file cannot be written, DataError where it is no log."""
        kept = list(takewhile(lambda record: _step(record) <= keep, read(path))) if keep else []
        best = max(kept, key=accuracy, default=_NONE)
        self.best, self.best_step = accuracy(best), _step(best)
        self._path = path
        try:
            lines = path.read_bytes().splitlines(keepends=True) if kept else []
            self._file = path.open("a" if kept else "w", encoding="utf-8")
            if kept:
                self._file.truncate(sum(map(len, lines[: len(kept)])))
        except OSError as error:
            raise self._refusal(error) from error

    def add(self, record: Record) -> None:
        """Write one record, to be seen at once. Raises Error when the disk is full."""
        if accuracy(record) > self.best:
            self.best, self.best_step = accuracy(record), _step(record)
        try:
            self._file.write(f"{json.dumps(record, allow_nan=False)}\n")
            self._file.flush()
        except OSError as error:
            raise self._refusal(error) from error

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What could not be written was reported; closing would report it once more.
        with suppress(OSError):
            self._file.close()

    def _refusal(self, error: OSError) -> Error:
        return Error(f"{self._path}: cannot be written: {error.strerror}")


def read(path: Path) -> list[Record]:
    """The records of a log; none where there is no file. A last line cut short is left out.

    Raises DataError for any other line that is no JSON object of numbers with a step, Error where
    the file cannot be read.
    """
    if not path.is_file():
        return []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise Error(f"{path}: cannot be read: {error.strerror}") from error
    return [_record(line, f"{path}:{number}") for number, line in enumerate(lines[:-1], 1)]


def _record(line: bytes, place: str) -> Record:
    try:
        record = _DECODER.decode(line)
    except (ValueError, RecursionError):
        record = {}
    if not isinstance(record.get("step"), int):
        raise DataError(f"{place}: expected a JSON object of numbers with a step")
    return record


def accuracy(record: Record) -> float:
    """The share of validation images told right; -1 for the record of a step."""
    return record.get("validation_top1", -1.0)


def _step(record: Record) -> int:
    return int(record["step"])
