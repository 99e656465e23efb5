"""What the reader of a source returns, and how its texts are read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ir.command import DataError
from runtime.data.sources.listing import Listing

SIZE = 256  # of stored images, as in the paper


@dataclass(frozen=True)
class Source:
    """Classes and items; `validation` is None where a part of `train` is to be split off.

    Items are image files or, where `pixels` says their side, u8[3,pixels,pixels] without a header.
    """

    about: str
    classes: tuple[str, ...]
    train: Listing
    validation: Listing | None = None
    pixels: int | None = None

    @property
    def size(self) -> int:
        """Of the stored images, unless one is asked for."""
        return self.pixels or SIZE


def text(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a file that are not blank, each behind its place, `file:line`.

    Raises DataError when the file cannot be read or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", line.decode().strip()
    except OSError as error:
        raise cannot_read(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: is not UTF-8; expected text") from error


def cannot_read(path: Path, error: OSError) -> DataError:
    """The complaint about a part of a source that cannot be read."""
    return DataError(f"{path}: cannot be read: {error.strerror}")
