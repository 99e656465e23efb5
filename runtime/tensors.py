"""Tensors of any safetensors file as numbers, one at a time: a checkpoint need not be a plan's."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ir.command import DataError
from ir.plan import one_line
from runtime import header
from runtime.header import Entry, Header

Numbers = npt.NDArray[np.floating[Any]]

_BF16 = "BF16"  # the upper half of an f32, which NumPy has no type for
_DTYPES = {_BF16: "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8"} | {
    f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)
}


@dataclass(frozen=True)
class Tensors:
    """An open file of so many bytes, and its header."""

    file: BufferedReader
    header: Header
    size: int

    def read(self, name: str) -> Numbers:
        """A tensor as f32, or as f64 where its type has more digits. Raises ValueError, OSError."""
        entry = self.header.tensors.get(name)
        if entry is None:
            raise ValueError(f"tensor '{name}' is missing")
        dtype = _dtype(name, entry)
        begin, end = (self.header.size + offset for offset in entry.data_offsets)
        if end > self.size:
            raise ValueError(f"cut within tensor '{name}': {self.size} bytes, expected {end}")
        self.file.seek(begin)
        found = np.frombuffer(self.file.read(end - begin), dtype).reshape(entry.shape)
        if entry.dtype == _BF16:
            return (found.astype(np.uint32) << 16).view(np.float32)
        return found.astype(np.result_type(dtype, np.float32), copy=False)


@contextmanager
def opened(path: Path) -> Generator[Tensors]:
    """Open a file. Raises DataError, also for what is raised by reading from it."""
    try:
        with path.open("rb") as file:
            yield Tensors(file, header.read(file), path.stat().st_size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a checkpoint: {error.strerror}") from error
    except (ValueError, OverflowError, RecursionError) as error:
        reason = one_line(str(error))
        raise DataError(f"{path}: cannot be read as a checkpoint: {reason}") from error


def _dtype(name: str, entry: Entry) -> np.dtype[Any]:
    """What a tensor's numbers are in the file. Raises ValueError unless they fill its place."""
    if entry.dtype not in _DTYPES:
        known = ", ".join(_DTYPES)
        raise ValueError(f"tensor '{name}' is {entry.dtype}, expected one of {known}")
    dtype, (begin, end) = np.dtype(_DTYPES[entry.dtype]), entry.data_offsets
    if min(begin, *entry.shape, 0) < 0 or end - begin != prod(entry.shape) * dtype.itemsize:
        shape, place = list(entry.shape), list(entry.data_offsets)
        raise ValueError(f"tensor '{name}' is {entry.dtype}{shape} at {place}, which do not fit")
    return dtype
