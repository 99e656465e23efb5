"""The bytes of an image file, had at once or refused: nothing is waited for, nothing is endless."""

import stat
from pathlib import Path

from runtime.data.decode import Refused

MOST_BYTES = 256 * 2**20
WHOLE = -1  # in place of a size


def read(path: Path, offset: int = 0, size: int = WHOLE) -> bytes:
    """A file, or `size` bytes of it at an offset. Raises Refused when they cannot be had."""
    try:
        data = _read(path, offset, MOST_BYTES + 1 if size == WHOLE else min(size, MOST_BYTES + 1))
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise Refused(f"is larger than {MOST_BYTES // 2**20} MB")
    if size not in (WHOLE, len(data)):
        raise Refused(f"ends after {len(data)} of {size} bytes")
    return data


def _read(path: Path, offset: int, most: int) -> bytes:
    # A pipe would block where it is opened, and a device has no end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise Refused("is no regular file")
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(most)
